// ADD and DEL of bridge with host-local: podwire's plugins against Debian's in Go, each in fresh namespaces; with no
// leases held, and with ten thousand. Assumes the cell. One process a verb (Go's host-local is a second one, started by
// bridge); all take turns.
import { existsSync, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runSync } from '../../lib/exec/run-sync.ts';
import { addNetns, deleteNetns, netnsPath } from '../../lib/kernel/netns.ts';
import { rotated, summarize } from '../lib/stats.ts';
import { goPlugins } from '../peers/containerd.ts';
import type { Measurement } from '../report.ts';
import { type Case, timed } from './case.ts';

interface Kind {
  readonly name: string;
  readonly bin: string;
  /** Leases held before. */
  readonly held: number;
  readonly conf: string;
}

const ownPlugins = fileURLToPath(new URL('../../dist/cni', import.meta.url));
const settleMs = 30;
const manyLeases = 10_000;

export const cniCase: Case = async ({ options, progress, folder }) => {
  progress.phase('CNI plugins: bridge with host-local');
  const found = [
    { name: 'podwire', bin: ownPlugins, net: 8 },
    { name: 'Go plugins', bin: goPlugins, net: 9 },
  ].filter(({ name, bin }) => {
    const there = existsSync(join(bin, 'bridge'));
    if (!there) progress.note(`${name}: not measured: no ${join(bin, 'bridge')}`);
    return there;
  });
  const kinds = found.flatMap(({ name, bin, net }) =>
    [0, manyLeases].map((held): Kind => {
      const dataDir = join(folder, `leases-${net}-${held}`);
      holdLeases(join(dataDir, `bench${net}`), `10.24${net}`, held);
      return { name, bin, held, conf: conf(net, dataDir) };
    }),
  );
  const samples = new Map(kinds.map((kind) => [kind, { adds: [] as number[], dels: [] as number[] }]));
  for (let run = -2; run < options.cniRuns; run++)
    for (const kind of rotated(kinds, run + 2)) {
      progress.tick(`run ${run + 1} of ${options.cniRuns}, ${kind.name}, ${kind.held} leases held`);
      const { add, del } = await once(kind, `bench-${run + 2}`);
      if (run < 0) continue;
      samples.get(kind)!.adds.push(add);
      samples.get(kind)!.dels.push(del);
    }
  const measurement = (title: string, held: number, verb: 'adds' | 'dels'): Measurement => ({
    title,
    unit: 'ms',
    base: 'Go plugins',
    peers: Object.fromEntries(
      [...samples]
        .filter(([kind]) => kind.held === held)
        .map(([kind, all]) => [kind.name, summarize(all[verb])]),
    ),
  });
  return {
    measurements: [
      measurement('CNI ADD, bridge with host-local', 0, 'adds'),
      measurement('CNI DEL, bridge with host-local', 0, 'dels'),
      measurement(`CNI ADD with ${manyLeases.toLocaleString('en')} leases held`, manyLeases, 'adds'),
    ],
    steps: [],
  };
};

/** Leases of a container that is never asked about, in the form that both kinds read: from .10.0 on, names of one file. */
function holdLeases(folder: string, net: string, count: number): void {
  mkdirSync(folder, { recursive: true });
  if (count === 0) return;
  const one = join(folder, `${net}.9.9`);
  writeFileSync(one, 'held\r\neth0');
  for (let n = 0; n < count; n++) linkSync(one, join(folder, `${net}.${10 + (n >> 8)}.${n & 255}`));
}

async function once({ bin, conf: input }: Kind, id: string): Promise<{ add: number; del: number }> {
  await addNetns(id);
  const plugin = (command: 'ADD' | 'DEL'): Promise<unknown> =>
    runSync({
      argv: [join(bin, 'bridge')],
      input,
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: id,
        CNI_NETNS: netnsPath(id),
        CNI_IFNAME: 'eth0',
        CNI_PATH: bin,
      },
    });
  try {
    const add = await timed(() => plugin('ADD'));
    await sleep(settleMs);
    const del = await timed(() => plugin('DEL'));
    return { add, del };
  } finally {
    await deleteNetns(id);
    await sleep(settleMs);
  }
}

/** ipMasq is left out: Go's runs iptables for it, podwire's does it once a node. */
const conf = (net: number, dataDir: string): string =>
  JSON.stringify({
    cniVersion: '1.0.0',
    name: `bench${net}`,
    type: 'bridge',
    bridge: `bench${net}`,
    isGateway: true,
    hairpinMode: true,
    ipam: {
      type: 'host-local',
      dataDir,
      ranges: [[{ subnet: `10.24${net}.0.0/16` }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  });
