// The server's part of the daemon: the store and the API over it. Wiring only.
// Assumes one control plane a store file (its lock sees to it). What it serves costs as lib/apiserver says.
import type { Logger } from 'pino';
import type { Admit } from '../../lib/api/admission.ts';
import { ApiError, isReason } from '../../lib/api/errors.ts';
import type { ApiObject, Pod } from '../../lib/api/types.ts';
import { Registry } from '../../lib/apiserver/registry.ts';
import type { ClusterRanges } from '../../lib/controllers/cluster-ranges.ts';
import { startControllers } from '../../lib/controllers/index.ts';
import { admitNodeSubnets, NodeIpam } from '../../lib/controllers/node-ipam.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import { mirrorAnnotation, sourceAnnotation } from '../../lib/kubelet/layout.ts';
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
  /** True for the uid of a static Pod of this node. */
  readonly isStaticUid: (uid: string) => boolean;
  readonly log: Logger;
}

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { paths, nodeName, isStaticUid, log } = options;
  const store = await openDatastore(options.datastore, paths, log);
  const registry: Registry = new Registry({
    store,
    admit: [
      assignTo(nodeName),
      refuseForeignMirrors(isStaticUid),
      admitNodeSubnets(() => ({ client: registry, ipam })),
    ],
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

/** A Pod of a node that is not known has no kubelet to wait for. */
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

/** A mirror shows a static Pod of this node; nobody may pass a Pod of theirs off as one. */
const refuseForeignMirrors =
  (isStaticUid: (uid: string) => boolean): Admit =>
  ({ resource, object, operation }) => {
    if (resource !== 'pods' || operation !== 'CREATE') return;
    const annotations = object.metadata.annotations ?? {};
    const mirrored = annotations[mirrorAnnotation];
    if (mirrored !== undefined ? isStaticUid(mirrored) : annotations[sourceAnnotation] === undefined) return;
    const name = mirrored === undefined ? sourceAnnotation : mirrorAnnotation;
    throw new ApiError(
      'Forbidden',
      `metadata.annotations[${name}]: only the kubelet sets it, on mirrors of static Pods`,
    );
  };
