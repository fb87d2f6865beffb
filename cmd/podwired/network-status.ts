// The state of the network of all nodes, gathered by a server: each node tells how it reaches the others.
// Assumes each node's TLS port; those that do not answer are told with the reason. One request a node, side by side.
import { setTimeout } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import type { Client } from '../../lib/api/client.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import type { NetworkReport, NetworkStatus } from '../../lib/node-network/health/health.ts';
import type { NodeDialer } from './node-dialer.ts';

const patienceMs = 4000;

interface Sources {
  readonly client: Client;
  readonly own: { readonly name: string; report(): NetworkReport };
  readonly dialer: Pick<NodeDialer, 'ask'>;
}

/** Registers GET /podwire/v1/network/status → NetworkStatus */
export function registerNetworkStatus(app: FastifyInstance, sources: Sources): void {
  app.get('/podwire/v1/network/status', () => gather(sources));
}

export async function gather({ client, own, dialer }: Sources): Promise<NetworkStatus> {
  const { items } = await client.list('nodes');
  const names = items.map(({ metadata }) => metadata.name).sort();
  const answers = await Promise.all(
    names.map(async (node): Promise<NetworkReport | { node: string; why: string }> => {
      try {
        return node === own.name
          ? own.report()
          : await Promise.race([dialer.ask<NetworkReport>(node, '/podwire/v1/network'), silence(node)]);
      } catch (error) {
        return { node, why: messageOf(error) };
      }
    }),
  );
  return {
    reports: answers.filter((answer): answer is NetworkReport => 'network' in answer),
    silent: answers.filter((answer): answer is { node: string; why: string } => 'why' in answer),
  };
}

/** A node whose plug was pulled does not refuse: it is silent, and this is asked for when nodes are silent. */
async function silence(node: string): Promise<never> {
  await setTimeout(patienceMs, undefined, { ref: false });
  throw new Error(`node "${node}" does not answer within ${patienceMs / 1000} s`);
}
