// The server's part of the daemon: the store and the API over it. Wiring only.
// Assumes one control plane a store file (its lock sees to it). What it serves costs as lib/apiserver says.
import type { Logger } from 'pino';
import type { Admit } from '../../lib/api/admission.ts';
import { isReason } from '../../lib/api/errors.ts';
import type { ApiObject, Pod } from '../../lib/api/types.ts';
import { restrictNodes } from '../../lib/apiserver/node-restriction.ts';
import { Registry } from '../../lib/apiserver/registry.ts';
import type { ClusterRanges } from '../../lib/controllers/cluster-ranges.ts';
import { startControllers } from '../../lib/controllers/index.ts';
import { admitNodeSubnets, NodeIpam } from '../../lib/controllers/node-ipam.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import { type Datastore, openDatastore } from './datastore.ts';

export interface ControlPlane {
  readonly registry: Registry;
  /** Starts the controllers. */
  lead(): Promise<void>;
  close(): Promise<void>;
}

export interface ControlPlaneOptions {
  readonly paths: NodePaths;
  readonly datastore: Datastore;
  /** This machine's own node. */
  readonly nodeName: string;
  readonly ranges: ClusterRanges;
  readonly log: Logger;
}

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { paths, nodeName, log } = options;
  const store = await openDatastore(options.datastore, paths, log);
  const registry: Registry = new Registry({
    store,
    admit: [assignTo(nodeName), restrictNodes, admitNodeSubnets(() => ({ client: registry, ipam }))],
    isServed: async (node) => node === nodeName || (await hasNode(registry, node)),
    onError: (error) => log.error({ err: error }, 'the registry failed'),
  });
  const ipam = new NodeIpam(registry, options.ranges.pods);
  await registry.start();
  const stop = new AbortController();
  return {
    registry,
    lead: () => startControllers({ client: registry, ipam, log, signal: stop.signal }),
    close: async () => {
      stop.abort();
      await registry.close();
      await store.close();
    },
  };
}

/**
 * A Pod of a node that is not known has no kubelet to wait for. One of a Node that is only out of reach waits for it, or is
 * deleted by force.
 */
async function hasNode(registry: Registry, name: string): Promise<boolean> {
  if (name === '') return false;
  try {
    await registry.get('nodes', { name });
    return true;
  } catch (error) {
    if (isReason(error, 'NotFound')) return false;
    throw error;
  }
}

/** There is one node: a Pod that names none runs here. */
const assignTo =
  (node: string): Admit =>
  ({ resource, object, operation }) => {
    if (resource !== 'pods' || operation !== 'CREATE') return;
    const pod = object as ApiObject & Pick<Pod, 'spec'>;
    if (!pod.spec.nodeName) pod.spec.nodeName = node;
  };
