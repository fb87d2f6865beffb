// Holds what a node writes to what is its own: its Node without taints and others' labels, mirrors of its own static
// Pods, events that say they are its own. Assumes node-authorizer.ts has let the request pass. Pure, O(fields).
// Source: Kubernetes' admission plugin NodeRestriction (plugin/pkg/admission/noderestriction).
import { isDeepStrictEqual } from 'node:util';
import type { Admit, AdmitRequest } from '../../api/admission.ts';
import type { Event, Lease, Node, Pod, Resource } from '../../api/types.ts';
import { forbiddenError } from '../api-errors.ts';
import { nodeOf } from './authn.ts';
import { referencesOf } from '../../api/pod-references.ts';

/** Set by the kubelet on the API's picture of a static Pod. */
const mirrorAnnotation = 'kubernetes.io/config.mirror';
const sourceAnnotation = 'kubernetes.io/config.source';
/** A node's own remarks on its Pods: how long each step of the start took. */
const ownPrefix = 'podwire.dev/';

type Restrict = (node: string, request: AdmitRequest) => string | undefined;

const restrictions: Partial<Record<Resource, Restrict>> = {
  nodes: (node, { object, old }) => nodeFault(node, object as Node, old as Node | undefined),
  leases: (node, { object, old }) =>
    !old && (object as Lease).metadata.name !== node
      ? `a node may make only its own Lease "${node}"`
      : undefined,
  pods: (node, { object, old }) =>
    old ? podChangeFault(object as Pod, old as Pod) : mirrorFault(node, object as Pod),
  events: (node, { object, old }) =>
    [object, old].every((one) => one === undefined || sourceOf(one as Event) === node)
      ? undefined
      : `a node may write only events whose source.host is "${node}"`,
};

/** The registry's admission of what nodes write; of others' writes it refuses mirrors. */
export const restrictNodes: Admit = (request) => {
  const { user, resource, object } = request;
  if (user === undefined) return; // the daemon itself
  const node = nodeOf(user);
  const fault = node === undefined ? foreignMirrorFault(request) : restrictions[resource]?.(node, request);
  if (fault !== undefined) throw forbiddenError(resource, object.metadata.name, fault);
};

function foreignMirrorFault({ resource, object, operation }: AdmitRequest): string | undefined {
  if (resource !== 'pods' || operation !== 'CREATE') return undefined;
  const annotations = object.metadata.annotations ?? {};
  const name = [mirrorAnnotation, sourceAnnotation].find((one) => annotations[one] !== undefined);
  return name && `metadata.annotations[${name}]: only the kubelet sets it, on mirrors of static Pods`;
}

function mirrorFault(node: string, pod: Pod): string | undefined {
  if (pod.metadata.annotations?.[mirrorAnnotation] === undefined)
    return 'a node may make only mirrors of its static Pods';
  if (pod.spec.nodeName !== node) return `spec.nodeName: a node may make mirrors only of itself, "${node}"`;
  const { configmaps, secrets } = referencesOf(pod);
  if (configmaps?.size || secrets?.size) return 'a mirror may not refer to ConfigMaps or Secrets';
  if (pod.metadata.finalizers?.length) return 'metadata.finalizers: a mirror may not have them';
  // Defaulting sets `default`, which opens nothing here.
  if ((pod.spec.serviceAccountName ?? 'default') !== 'default')
    return 'spec.serviceAccountName: a mirror may not have one';
  return undefined;
}

/** A node may remark on its Pods, and nothing else. */
function podChangeFault(pod: Pod, old: Pod): string | undefined {
  const rest = ({ metadata, ...others }: Pod): unknown => ({
    ...others,
    metadata: {
      ...metadata,
      annotations: Object.fromEntries(
        Object.entries(metadata.annotations ?? {}).filter(([key]) => !key.startsWith(ownPrefix)),
      ),
    },
  });
  return same(rest(pod), rest(old))
    ? undefined
    : `a node may change only annotations ${ownPrefix}… of its Pods`;
}

function nodeFault(name: string, node: Node, old: Node | undefined): string | undefined {
  if (node.metadata.name !== name) return `a node may write only its own Node "${name}"`;
  const before = old?.metadata.labels ?? {};
  const after = node.metadata.labels ?? {};
  const changed = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (key) => before[key] !== after[key],
  );
  const label = changed.find((key) => !isOwnLabel(key));
  if (label !== undefined) return `metadata.labels[${label}]: a node may not set it on itself`;
  // With an owner it would go with that one, with a finalizer it could not be removed.
  for (const field of ['ownerReferences', 'finalizers'] as const)
    if (!same(node.metadata[field] ?? [], old?.metadata[field] ?? []))
      return `metadata.${field}: a node may not set them on itself`;
  if (!old) return undefined;
  const { podCIDR: _one, podCIDRs: _all, ...spec } = node.spec ?? {};
  const { podCIDR, podCIDRs, ...oldSpec } = old.spec ?? {};
  if (!same(spec, oldSpec)) return 'spec: a node may not change its taints and what else stands there';
  if (podCIDR !== undefined && !same([_one, _all], [podCIDR, podCIDRs]))
    return 'spec.podCIDR: a node may not change it';
  return undefined;
}

const kubeletLabels = new Set([
  'kubernetes.io/hostname',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'node.kubernetes.io/instance-type',
]);

/** What a kubelet may say of itself: some labels of Kubernetes' own, and whatever is not of Kubernetes. */
function isOwnLabel(key: string): boolean {
  if (kubeletLabels.has(key)) return true;
  const domain = key.includes('/') ? key.slice(0, key.indexOf('/')) : '';
  if (/(^|\.)node-restriction\.kubernetes\.io$/.test(domain)) return false;
  if (/(^|\.)(kubelet|node)\.kubernetes\.io$/.test(domain)) return true;
  return !/(^|\.)(kubernetes|k8s)\.io$/.test(domain);
}

const sourceOf = (event: Event): string | undefined => event.source?.host ?? event.reportingInstance;

/** Members that are undefined do not count. */
const same = (one: unknown, other: unknown): boolean =>
  isDeepStrictEqual(JSON.parse(JSON.stringify(one)), JSON.parse(JSON.stringify(other)));
