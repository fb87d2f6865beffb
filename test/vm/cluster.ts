// A cluster on VMs: node1 serves, the others join it by a token; podwired is a systemd service everywhere.
// Assumes bare VMs of startLab. Their first NIC is the same everywhere, so what finds its address by it does not come to work.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Node } from '../../lib/api/types.ts';
import type { NetworkStatus } from '../../lib/node-network/health/health.ts';
import { ask, type Question } from './echo-pod.ts';
import { type Machine, patienceMs, sleep } from './machine.ts';
import { getPod, untilReady } from './node.ts';

const unit = readFileSync(join(import.meta.dirname, '../../examples/podwired.service'), 'utf8');

/** Installs podwired as a service with these flags; does not start it. */
export async function install(vm: Machine, ...flags: readonly string[]): Promise<void> {
  await vm.put('/etc/systemd/system/podwired.service', unit);
  const start = `[Service]\nExecStart=\nExecStart=/opt/podwire/bin/podwired ${flags.join(' ')}\n`;
  await vm.put('/etc/systemd/system/podwired.service.d/flags.conf', start);
  await vm.sh('systemctl daemon-reload && systemctl enable podwired');
}

/** (Re)starts the service and waits until it answers. */
export async function startService(vm: Machine): Promise<void> {
  await vm.sh('systemctl restart podwired');
  await untilReady(vm);
}

/** Runs what `podwire token create` printed, and gives the daemon that it started to systemd. */
export async function joinBy(vm: Machine, line: string): Promise<string> {
  const said = await vm.sh(`/opt/podwire/bin/${line}`);
  await vm.sh('/opt/podwire/bin/podwire down');
  await startService(vm);
  return said;
}

export interface Ready {
  readonly status: string;
  readonly reason?: string;
}

/** Condition Ready by node name. */
export async function readiness(vm: Machine): Promise<Record<string, string>> {
  const { items } = await vm.api.list('nodes');
  return Object.fromEntries(
    (items as Node[]).map((node) => [
      node.metadata.name,
      node.status?.conditions?.find((condition) => condition.type === 'Ready')?.status ?? 'none',
    ]),
  );
}

/** Waits for what `look` gives to be what is wanted; gives seconds. @throws Error with what it was last */
export async function eventually<T>(
  what: string,
  look: () => Promise<T>,
  met: (seen: T) => boolean,
): Promise<number> {
  const began = performance.now();
  for (let last: unknown; ; await sleep(100)) {
    try {
      const seen = await look();
      if (met(seen)) return (performance.now() - began) / 1000;
      last = JSON.stringify(seen);
    } catch (error) {
      last = error;
    }
    if (performance.now() - began > patienceMs)
      throw new Error(`${what}: not so after ${patienceMs / 1000} s; last: ${last}`);
  }
}

export const nodesAre = (vm: Machine, want: Record<string, string>): Promise<number> =>
  eventually(
    `nodes ${JSON.stringify(want)}`,
    () => readiness(vm),
    (seen) => Object.entries(want).every(([name, status]) => seen[name] === status),
  );

/** HTTP and UDP, small and large, in all families that the Pods have; `mtu` is a Pod's, for a datagram that just fits. */
function questions(addresses: readonly string[], mtu: number): Question[] {
  return addresses.flatMap((to): Question[] => [
    { kind: 'http', to, out: 1 },
    { kind: 'http', to, out: 1_000_000 },
    { kind: 'http', to, out: 1, back: 1_000_000 },
    { kind: 'udp', to, out: 4 },
    { kind: 'udp', to, out: mtu - (familyOf(to) === 6 ? 48 : 28) },
    { kind: 'udp', to, out: 5000 },
  ]);
}

const addressesOf = async (vm: Machine, pod: string): Promise<string[]> =>
  ((await getPod(vm, pod))?.status?.podIPs ?? []).map(({ ip }) => ip);

export interface Between {
  readonly pods: readonly [string, string];
  /** Of a Pod's eth0. */
  readonly mtu: number;
  /** Those that the backend carries; both unless told. */
  readonly families?: readonly (4 | 6)[];
}

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

/** Each Pod asks the other: all arrives whole, and the one asked sees the asker's own address. */
export async function flowsWork(t: Test, vm: Machine, between: Between): Promise<void> {
  const { pods, mtu, families = [4, 6] } = between;
  for (const [from, to] of [pods, [pods[1], pods[0]]] as const) {
    const own = await addressesOf(vm, from);
    const others = (await addressesOf(vm, to)).filter((address) => families.includes(familyOf(address)));
    t.equal(others.length, families.length, `${to} has an address of each family`);
    const asked = questions(others, mtu);
    t.strictSame(
      await ask(vm.api, from, asked),
      asked.map(({ kind, to, out, back = 0 }) => {
        const seen = own.find((address) => familyOf(address) === familyOf(to));
        return kind === 'http' ? `${seen} ${out} ${back}` : `${seen} ${out}`;
      }),
      `${from} to ${to}: http and udp, small and large, from its own address`,
    );
  }
}

/** Waits until small questions are answered both ways; gives seconds. @throws Error with the answers and what podwire makes of them */
export async function untilFlows(vm: Machine, [one, two]: readonly [string, string]): Promise<number> {
  const answers = async (): Promise<string[]> => {
    const said: string[] = [];
    for (const [from, other] of [
      [one, two],
      [two, one],
    ] as const) {
      const [to = ''] = await addressesOf(vm, other);
      said.push(...(await ask(vm.api, from, [{ kind: 'http', to, out: 1 }])));
    }
    return said;
  };
  try {
    return await eventually('flows', answers, (said) => said.every((each) => each.endsWith(' 1 0')));
  } catch (error) {
    const { stdout } = await vm.podwire('network', 'status');
    throw new Error(
      `${error}\n${stdout}\n${await vm.sh('ip route; ip -br link; journalctl -u podwired -n 20 -o cat')}`,
    );
  }
}

/** What one node's probes of another say, as `podwire network status` would show it: `ok`, `mtu`, `blocked` … */
export async function causeBetween(vm: Machine, from: string, to: string): Promise<string> {
  const { reports } = await vm.api.request<NetworkStatus>('GET', '/podwire/v1/network/status');
  const report = reports.find(({ node }) => node === from);
  return report?.peers.find(({ peer }) => peer === to)?.cause ?? 'no report';
}
