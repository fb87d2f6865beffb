// The controllers and the scheduler of a server, started together over shared informers.
// Assumes the registry in process. What each costs, its own file says.
import type { Logger } from 'pino';
import type { Client, ListOptions, ObjectKey } from '../api/client.ts';
import { EventRecorder } from '../api/events.ts';
import { Informer } from '../api/informer.ts';
import type { Binding, Resource } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { nodeLeaseNamespace } from '../kubelet/node-lease.ts';
import { Scheduler, schedulerName } from '../scheduler/scheduler.ts';
import type { NodeIpam } from './node-ipam.ts';
import { NodeIpamLoop } from './node-ipam-loop.ts';
import { NodeLifecycle } from './node-lifecycle.ts';
import { PodGc } from './pod-gc.ts';
import { TaintEviction } from './taint-eviction.ts';

export interface ControllerSettings {
  /** --node-monitor-grace-period */
  readonly graceMs: number;
  /** --terminated-pod-gc-threshold */
  readonly terminatedThreshold: number;
}

/** kube-controller-manager's. */
export const controllerDefaults: ControllerSettings = { graceMs: 40_000, terminatedThreshold: 12_500 };

export interface ControllersInput {
  readonly settings?: Partial<ControllerSettings>;
  readonly client: Client;
  /** pods/binding: Conflict when the Pod is bound already. */
  readonly bind: (pod: ObjectKey, binding: Binding) => Promise<void>;
  readonly ipam: NodeIpam;
  readonly log: Logger;
  /** Ends them all. */
  readonly signal: AbortSignal;
}

export interface Controllers {
  readonly scheduler: Scheduler;
}

/** Resolves when every controller has seen what there is. @throws ApiError */
export async function startControllers(input: ControllersInput): Promise<Controllers> {
  const { client, bind, ipam, log, signal } = input;
  const onError = (error: unknown): void => {
    lifecycle?.wasAway();
    log.warn({ err: error }, `controllers: watch broke: ${messageOf(error)}; listing again`);
  };
  let lifecycle: NodeLifecycle | undefined;
  const informer = <R extends Resource>(resource: R, select: ListOptions = {}): Informer<R> =>
    new Informer({ client, resource, select, onError });
  const recorder = (component: string): EventRecorder => new EventRecorder(client, { component }, log);
  const [nodes, pods, namespaces] = [informer('nodes'), informer('pods'), informer('namespaces')];
  const leases = informer('leases', { namespace: nodeLeaseNamespace });
  const shared = { client, nodes, pods, namespaces, log, signal };
  new NodeIpamLoop({ ...shared, ipam, events: recorder('cidrAllocator') });
  const scheduler = new Scheduler({ ...shared, bind, events: recorder(schedulerName) });
  const { graceMs, terminatedThreshold } = { ...controllerDefaults, ...input.settings };
  const events = recorder('node-controller');
  lifecycle = new NodeLifecycle({ ...shared, leases, events, graceMs });
  new TaintEviction({ ...shared, events: recorder('taint-eviction-controller') });
  const podGc = new PodGc({ ...shared, terminatedThreshold });
  // Nodes before Pods: a Pod that is there needs the node it is on.
  for (const each of [leases, namespaces, nodes, pods]) await each.start(signal);
  lifecycle.start();
  podGc.start();
  return { scheduler };
}
