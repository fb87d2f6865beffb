// What a node may ask of the API: its own Node, Lease and Pods, what those Pods refer to, and all Nodes to read.
// Assumes what it writes is held to its own by node-restriction.ts, too. One read of the Pods for a ConfigMap or Secret.
// Source: Kubernetes' node authorizer (plugin/pkg/auth/authorizer/node) and its role system:node.
import type { Client, ObjectKey } from '../../api/client.ts';
import { ApiError, isReason } from '../../api/errors.ts';
import { type DataResource, referencesOf } from '../../api/pod-references.ts';
import type { Pod, Resource } from '../../api/types.ts';
import { notFoundError } from '../api-errors.ts';
import type { Attributes, AuthorizeNode } from './access.ts';
import { nodeOf, nodeUidOf } from './authn.ts';

/** Lookups that the decision needs. */
export interface Graph {
  /** undefined: there is no such Pod. */
  podNode(key: { namespace: string; name: string }): Promise<string | undefined>;
  /** Whether a Pod bound to the node refers to that object. */
  isReferred(node: string, to: { resource: Resource; namespace: string; name: string }): Promise<boolean>;
}

const leaseNamespace = 'kube-node-lease';
/** What every node may see whole. */
const readable: readonly Resource[] = ['nodes'];

type Rule = (node: string, asked: Attributes, graph: Graph) => boolean | Promise<boolean>;

const isOwnPod: Rule = async (node, { namespace, name }, graph) =>
  name !== undefined && (await graph.podNode({ namespace: namespace ?? 'default', name })) === node;

const isReferred: Rule = async (node, { verb, resource, namespace, name, fieldSelector }, graph) => {
  const one = verb === 'get' ? name : /^metadata\.name=([^,!=]+)$/.exec(fieldSelector ?? '')?.[1];
  // Without a namespace it would be that name in all of them.
  return (
    one !== undefined && namespace !== undefined && graph.isReferred(node, { resource, namespace, name: one })
  );
};

const rules: Partial<
  Record<Resource, (node: string, asked: Attributes, graph: Graph) => boolean | Promise<boolean>>
> = {
  // Its Node is made when it joins: one that was removed comes back by a new token, and no other way.
  nodes: (node, { verb, name }) => isChange(verb) && name === node,
  leases: (node, { verb, namespace, name }) =>
    namespace === leaseNamespace &&
    (verb === 'create' || ((verb === 'get' || verb === 'delete' || isChange(verb)) && name === node)),
  pods: (node, asked, graph) => {
    const { verb, subresource, fieldSelector } = asked;
    if (verb === 'list' || verb === 'watch')
      return (fieldSelector ?? '').split(',').some((one) => one === `spec.nodeName=${node}`);
    if (verb === 'create') return true; // only mirrors: node-restriction.ts
    if (subresource === 'ephemeralcontainers') return false; // of users, not of nodes
    if (subresource === 'resize' || (verb === 'update' && subresource === undefined)) return false;
    return verb !== 'deletecollection' && isOwnPod(node, asked, graph);
  },
  events: (_node, { verb }) => verb === 'create' || isChange(verb),
  configmaps: (node, asked, graph) => isRead(asked.verb) && isReferred(node, asked, graph),
  secrets: (node, asked, graph) => isRead(asked.verb) && isReferred(node, asked, graph),
};

const isData = (resource: Resource): resource is DataResource =>
  resource === 'configmaps' || resource === 'secrets';
const isRead = (verb: Attributes['verb']): boolean => verb === 'get' || verb === 'list' || verb === 'watch';
const isChange = (verb: Attributes['verb']): boolean => verb === 'update' || verb === 'patch';

/** Pure but for the graph. */
export async function mayNode(node: string, asked: Attributes, graph: Graph): Promise<boolean> {
  if (isRead(asked.verb) && readable.includes(asked.resource)) return true;
  return (await rules[asked.resource]?.(node, asked, graph)) ?? false;
}

export function nodeAuthorizer(client: Pick<Client, 'get' | 'list'>): AuthorizeNode {
  const graph = graphOf(client);
  return async (user, asked) => {
    const node = nodeOf(user) ?? '';
    await refuseFormer(client, node, nodeUidOf(user));
    if (asked === undefined || (await mayNode(node, asked, graph))) return;
    const { verb, resource, subresource, namespace, name } = asked;
    if (resource === 'nodes' && verb === 'create')
      throw new ApiError(
        'Forbidden',
        `node "${node}" is not of the cluster any more: it was removed; join again with a new token (podwire token create)`,
      );
    // Of a Pod that is nowhere its node must hear so: it has deleted it, or is about to make its mirror.
    if (resource === 'pods' && name !== undefined && (await isAbsent(graph, { namespace, name })))
      throw notFoundError(resource, name);
    const what = `${resource}${subresource ? `/${subresource}` : ''}${name ? ` "${name}"` : ''}`;
    throw new ApiError(
      'Forbidden',
      `${what} is forbidden: node "${node}" may not ${verb} ${name ? 'it' : resource}${namespace ? ` in namespace "${namespace}"` : ''}; a node sees its own Pods and all Nodes, a server sees everything`,
      { kind: resource, ...(name ? { name } : {}) },
    );
  };
}

/** A machine that was removed, and whose name another has now, still holds its certificate: it is not that one. */
async function refuseFormer(
  client: Pick<Client, 'get'>,
  name: string,
  uid: string | undefined,
): Promise<void> {
  if (uid === undefined) return;
  const now = await client.get('nodes', { name }).catch(unlessAbsent);
  if (now === undefined || now.metadata.uid === uid) return;
  throw new ApiError(
    'Forbidden',
    `node "${name}" was removed, and has been made anew since: join again with a new token (podwire token create), by another name if it is another machine's now`,
  );
}

function unlessAbsent(error: unknown): undefined {
  if (!isReason(error, 'NotFound')) throw error;
}

const isAbsent = async (graph: Graph, { namespace = 'default', name }: ObjectKey): Promise<boolean> =>
  (await graph.podNode({ namespace, name })) === undefined;

function graphOf(client: Pick<Client, 'get' | 'list'>): Graph {
  return {
    podNode: async (key) => {
      try {
        return (await client.get('pods', key)).spec.nodeName ?? '';
      } catch (error) {
        if (isReason(error, 'NotFound')) return undefined;
        throw error;
      }
    },
    isReferred: async (node, { resource, namespace, name }) => {
      const { items } = await client.list('pods', { namespace, fieldSelector: `spec.nodeName=${node}` });
      return items.some((pod: Pod) => isData(resource) && referencesOf(pod)[resource].has(name));
    },
  };
}
