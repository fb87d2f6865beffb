// The controllers and the scheduler of a server, started together over shared informers.
// Assumes the registry in process. What each costs, its own file says.
import type { Logger } from 'pino';
import type { Client, ObjectKey } from '../api/client.ts';
import { EventRecorder } from '../api/events.ts';
import { Informer } from '../api/informer.ts';
import type { Binding, Resource } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { Scheduler, schedulerName } from '../scheduler/scheduler.ts';
import type { NodeIpam } from './node-ipam.ts';
import { NodeIpamLoop } from './node-ipam-loop.ts';

export interface ControllersInput {
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
  const onError = (error: unknown): void =>
    log.warn({ err: error }, `controllers: watch broke: ${messageOf(error)}; listing again`);
  const informer = <R extends Resource>(resource: R): Informer<R> =>
    new Informer({ client, resource, onError });
  const recorder = (component: string): EventRecorder => new EventRecorder(client, { component }, log);
  const [nodes, pods, namespaces] = [informer('nodes'), informer('pods'), informer('namespaces')];
  const shared = { client, nodes, pods, namespaces, log, signal };
  new NodeIpamLoop({ ...shared, ipam, events: recorder('cidrAllocator') });
  const scheduler = new Scheduler({ ...shared, bind, events: recorder(schedulerName) });
  // Nodes before Pods: a Pod that is there needs the node it is on.
  for (const each of [namespaces, nodes, pods]) await each.start(signal);
  return { scheduler };
}
