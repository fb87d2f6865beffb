// `podwire network status`: whether every node reaches every other through the Pods' network, and if not, why.
// Assumes the route /podwire/v1/network/status of a server. One row a node, one column a node; causes below.
import type { NetworkStatus } from '../../../lib/node-network/health/health.ts';
import type { Context } from '../context.ts';
import { readJson } from '../http.ts';
import { renderObject } from '../print/object.ts';
import { parseOutput } from '../print/output.ts';
import { renderTable } from '../print/text.ts';

export async function runNetworkStatus(context: Context, options: { output?: string }): Promise<void> {
  const status = await readJson<NetworkStatus>(context.socket, '/podwire/v1/network/status');
  const format = options.output === undefined ? undefined : parseOutput(options.output, ['json', 'yaml']);
  if (format) return context.out(await renderObject(status, format));
  context.out(nodesTable(status));
  if (status.reports.length + status.silent.length > 1) context.out(`\n${matrix(status)}`);
  const causes = causesOf(status);
  if (causes.length > 0) context.out(`\n${causes.map((line) => `${line}\n`).join('')}`);
}

/** Pure. */
export function nodesTable({ reports, silent }: NetworkStatus): string {
  const rows = reports.map(({ node, network, peers }) => [
    node,
    network.state,
    network.backend,
    network.podCidrs.join(',') || '-',
    network.device ?? '-',
    String(network.mtu ?? '-'),
    `${peers.filter(({ cause }) => cause === 'ok').length}/${peers.length}`,
  ]);
  const absent = silent.map(({ node }) => [node, 'no answer', '-', '-', '-', '-', '-']);
  return renderTable(
    ['NODE', 'NETWORK', 'BACKEND', 'PODS', 'UNDERLAY', 'MTU', 'REACHES'],
    [...rows, ...absent],
  );
}

/** From the row's node to the column's: the way and back in milliseconds, or the cause. Pure. */
export function matrix({ reports, silent }: NetworkStatus): string {
  const names = [...reports.map(({ node }) => node), ...silent.map(({ node }) => node)].sort();
  const cell = (from: string, to: string): string => {
    if (from === to) return '.';
    const found = reports.find(({ node }) => node === from)?.peers.find(({ peer }) => peer === to);
    if (!found) return '?';
    return found.cause === 'ok' ? `${(found.rttMs ?? 0).toFixed(1)}ms` : found.cause;
  };
  const rows = names.map((from) => [from, ...names.map((to) => cell(from, to))]);
  return renderTable(['FROM \\ TO', ...names], rows);
}

/** Pure. */
export function causesOf({ reports, silent }: NetworkStatus): string[] {
  const bad = reports.flatMap(({ node, peers, network }) => [
    ...(network.lastError ? [`${node}: ${network.lastError}`] : []),
    ...Object.entries(network.problems).map(([peer, { message }]) => `${node} → ${peer}: ${message}`),
    ...peers
      .filter(({ cause, peer }) => cause !== 'ok' && !network.problems[peer])
      .map(({ peer, message }) => `${node} → ${peer}: ${message}`),
  ]);
  return [...bad, ...silent.map(({ node, why }) => `${node}: ${why}`)];
}
