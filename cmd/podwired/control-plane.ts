// The server's part of the daemon: the store and the API over it. Wiring only.
// Assumes one control plane a store file (its lock sees to it). What it serves costs as lib/apiserver says.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { isReason } from '../../lib/api/errors.ts';
import { restrictNodes } from '../../lib/apiserver/access/node-restriction.ts';
import { Registry } from '../../lib/apiserver/registry/registry.ts';
import type { ClusterRanges } from '../../lib/controllers/cluster-ranges.ts';
import {
  admitDefaultTolerations,
  defaultTolerationSeconds,
  type TolerationSeconds,
} from '../../lib/controllers/default-tolerations.ts';
import {
  type ControllerSettings,
  type Controllers,
  controllerDefaults,
  startControllers,
} from '../../lib/controllers/index.ts';
import { runAsLeader } from '../../lib/controllers/leader.ts';
import { admitNodeAddress } from '../../lib/controllers/node-address.ts';
import { admitNodeSubnets, NodeIpam } from '../../lib/controllers/node-ipam.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import type { ControllerFlags } from './controller-flags.ts';
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
  readonly ranges: ClusterRanges;
  readonly flags: ControllerFlags;
  readonly log: Logger;
}

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { paths, flags, log } = options;
  const store = await openDatastore(options.datastore, paths, log);
  let controllers: Controllers | undefined;
  const registry: Registry = new Registry({
    store,
    admit: [
      restrictNodes,
      admitDefaultTolerations(tolerationSeconds(flags)),
      admitNodeAddress(options.ranges),
      admitNodeSubnets(() => ({ client: registry, ipam, services: options.ranges.services })),
      (request) => controllers?.scheduler.admit(request),
    ],
    isServed: (name) => hasNode(registry, name),
    onError: (error) => log.error({ err: error }, 'the registry failed'),
  });
  const ipam = new NodeIpam(registry, options.ranges.pods);
  await registry.start();
  const stop = new AbortController();
  const lead = async (signal: AbortSignal): Promise<void> => {
    const bind: Registry['bind'] = (pod, binding) => registry.bind(pod, binding);
    controllers = await startControllers({
      client: registry,
      bind,
      ipam,
      settings: settingsOf(flags),
      log,
      signal,
    });
    const forget = (): void => {
      controllers = undefined; // another server's scheduler places Pods now
    };
    if (signal.aborted) forget();
    else signal.addEventListener('abort', forget, { once: true });
  };
  let turns: Promise<void> | undefined;
  const leadInTurn = async (): Promise<void> => {
    turns = leadWhenElected({ registry, log, signal: stop.signal }, lead);
  };
  return {
    registry,
    lead: () => (options.datastore.kind === 'etcd' ? leadInTurn() : lead(stop.signal)),
    close: async () => {
      stop.abort();
      await turns; // the Lease is given back: the next server need not wait for it
      await registry.close();
      await store.close();
    },
  };
}

function tolerationSeconds(flags: ControllerFlags): TolerationSeconds {
  const { notReady, unreachable } = defaultTolerationSeconds;
  return {
    notReady: flags.defaultNotReadyTolerationSeconds ?? notReady,
    unreachable: flags.defaultUnreachableTolerationSeconds ?? unreachable,
  };
}

function settingsOf(flags: ControllerFlags): ControllerSettings {
  const { graceMs, terminatedThreshold } = controllerDefaults;
  return {
    graceMs: (flags.nodeMonitorGracePeriod ?? graceMs / 1000) * 1000,
    terminatedThreshold: flags.terminatedPodGcThreshold ?? terminatedThreshold,
  };
}

/** Where servers share a store, the holder of a Lease has the controllers; the others wait for their turn. */
async function leadWhenElected(
  { registry, log, signal }: { registry: Registry; log: Logger; signal: AbortSignal },
  lead: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const identity = `${hostname()}_${randomUUID()}`;
  const onError = (error: unknown): void => log.warn({ err: error }, `leader lease: ${messageOf(error)}`);
  const work = async (term: AbortSignal): Promise<void> => {
    log.info({ identity }, 'this server leads: controllers and scheduler run here');
    await lead(term);
    if (!term.aborted) await once(term, 'abort');
    log.info('this server leads no more');
  };
  while (!signal.aborted)
    try {
      await runAsLeader({ client: registry, name: 'podwire-controllers', identity, signal, onError }, work);
    } catch (error) {
      log.error({ err: error }, `controllers: ${messageOf(error)}; trying again`);
      await sleep(5000, undefined, { signal }).catch(() => {});
    }
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
