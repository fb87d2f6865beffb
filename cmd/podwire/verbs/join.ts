// `podwire join TOKEN`: makes this machine a node of the cluster that the token is of, and starts podwired as its agent.
// `podwire leave`: makes it a machine of its own again. Assumes root. The token's secret is sent to no one but a server
// whose CA the token's hash proves.
import { BlockList, isIP } from 'node:net';
import { hostname } from 'node:os';
import { UsageError } from '../errors.ts';
import type { Context } from '../context.ts';
import { type DaemonFlags, health, startedText, startPodwired } from '../daemon.ts';

export async function runJoin(context: Context, text: string, flags: DaemonFlags): Promise<void> {
  const { parseToken } = await import('../../../lib/pki/join-token.ts');
  const token = parseToken(text);
  const fault = flags.nodeIp === undefined ? undefined : nodeIpFault(flags.nodeIp);
  if (fault !== undefined) throw new UsageError(`--node-ip ${flags.nodeIp}: ${fault}`);
  if (process.getuid?.() !== 0) throw new UsageError('joining needs root: use sudo');
  if ((await health(context)) !== 'absent')
    throw new UsageError('podwired runs on this machine already: podwire down, and join then');
  const { joinCluster } = await import('../../../lib/pki/join-client.ts');
  const membership = await import('../../../lib/pki/membership.ts');
  const { pki } = context.paths;
  const name = flags.nodeName ?? hostname().toLowerCase();
  const joined = await joinCluster<{ servers: readonly string[] }>({
    token,
    name,
    address: flags.nodeIp,
    machineId: membership.ensureMachineId(pki),
    podCidrs: flags.podCidr?.split(','),
  });
  const { address, server, settings, credentials } = joined;
  const servers = membership.servingFirst(settings.servers, server);
  membership.writeCredentials(pki, credentials);
  membership.writeMembership(pki, { name, address, settings: { ...settings, servers } });
  context.out(`joined the cluster of ${server} as node "${name}" at ${address}\n`);
  context.out(startedText(await startPodwired(context, flags), context.socket));
}

/** Why no other machine reaches this one by an address; undefined when it may. As kubelet's rules for --node-ip. Pure. */
export function nodeIpFault(address: string): string | undefined {
  const family = isIP(address);
  if (family === 0) return 'expected an IPv4 or IPv6 address';
  const nobodys = new BlockList();
  for (const [net, prefix] of [
    ['0.0.0.0', 8],
    ['127.0.0.0', 8],
    ['169.254.0.0', 16],
    ['224.0.0.0', 4],
  ] as const)
    nobodys.addSubnet(net, prefix, 'ipv4');
  for (const [net, prefix] of [
    ['::', 127],
    ['fe80::', 10],
    ['ff00::', 8],
  ] as const)
    nobodys.addSubnet(net, prefix, 'ipv6');
  if (!nobodys.check(address, family === 4 ? 'ipv4' : 'ipv6')) return undefined;
  return 'other machines reach none by a loopback, link-local, multicast or unspecified address; give one of a link of this machine';
}

export async function runLeave(context: Context): Promise<void> {
  const { forgetMembership, isMember } = await import('../../../lib/pki/membership.ts');
  const { pki } = context.paths;
  if (!isMember(pki)) return context.out('this machine is of no cluster\n');
  if ((await health(context)) !== 'absent')
    throw new UsageError('podwired still runs: podwire down --pods, and leave then');
  forgetMembership(pki);
  context.out(
    'this machine is on its own again; on a server, "podwire node remove" removes what it was there\n',
  );
}
