// The controllers of a server, started together over shared informers.
// Assumes the registry's client in process. What each costs, its own file says.
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import { EventRecorder } from '../api/events.ts';
import { Informer } from '../api/informer.ts';
import { messageOf } from '../exec/errors.ts';
import type { NodeIpam } from './node-ipam.ts';
import { NodeIpamLoop } from './node-ipam-loop.ts';

export interface ControllersInput {
  readonly client: Client;
  readonly ipam: NodeIpam;
  readonly log: Logger;
  /** Ends them all. */
  readonly signal: AbortSignal;
}

/** Resolves when every controller has seen what there is. @throws ApiError */
export async function startControllers({ client, ipam, log, signal }: ControllersInput): Promise<void> {
  const warn = (error: unknown): void =>
    log.warn({ err: error }, `controllers: watch broke: ${messageOf(error)}; listing again`);
  const nodes = new Informer({ client, resource: 'nodes', onError: warn });
  const recorder = (component: string): EventRecorder => new EventRecorder(client, { component }, log);
  new NodeIpamLoop({ client, ipam, nodes, events: recorder('cidrAllocator'), log, signal });
  await nodes.start(signal);
}
