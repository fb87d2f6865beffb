// ADD and DEL of bridge with host-local: podwire's plugins against Debian's in Go, each in fresh namespaces; with no
// leases held, with ten thousand, and with portmap after it; size and memory of the executables. Assumes the cell. One
// process a verb and plugin (Go's host-local is one more, started by bridge); all take turns.
import { existsSync, linkSync, mkdirSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runSync } from '../../lib/exec/run-sync.ts';
import { addNetns, deleteNetns, netnsPath } from '../../lib/kernel/netns.ts';
import { peakMemory } from '../lib/peak.ts';
import { rotated, summarize } from '../lib/stats.ts';
import { goPlugins } from '../peers/containerd.ts';
import type { Measurement } from '../report.ts';
import { type Case, timed } from './case.ts';

interface Kind {
  readonly name: string;
  readonly bin: string;
  /** Leases held before. */
  readonly held: number;
  /** portmap runs after bridge, before it on DEL. */
  readonly ports: boolean;
  readonly conf: string;
}

const ownPlugins = fileURLToPath(new URL('../../dist/cni', import.meta.url));
const settleMs = 30;
const manyLeases = 10_000;
const plain = { held: 0, ports: false };
const withPorts = { held: 0, ports: true };

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
    [
      { held: 0, ports: false },
      { held: manyLeases, ports: false },
      { held: 0, ports: true },
    ].map(({ held, ports }): Kind => {
      const dataDir = join(folder, `leases-${net}-${held}-${ports ? 'ports' : 'plain'}`);
      holdLeases(join(dataDir, `bench${net}`), `10.24${net}`, held);
      return { name, bin, held, ports, conf: conf(net, dataDir) };
    }),
  );
  const samples = new Map(kinds.map((kind) => [kind, { adds: [] as number[], dels: [] as number[] }]));
  for (let run = -2; run < options.cniRuns; run++)
    for (const kind of rotated(kinds, run + 2)) {
      progress.tick(
        `run ${run + 1} of ${options.cniRuns}, ${kind.name}, ${kind.held} leases held${kind.ports ? ', portmap' : ''}`,
      );
      const { add, del } = await once(kind, `bench-${run + 2}`);
      if (run < 0) continue;
      samples.get(kind)!.adds.push(add);
      samples.get(kind)!.dels.push(del);
    }
  const measurement = (
    title: string,
    of: { held: number; ports: boolean },
    verb: 'adds' | 'dels',
  ): Measurement => ({
    title,
    unit: 'ms',
    base: 'Go plugins',
    peers: Object.fromEntries(
      [...samples]
        .filter(([kind]) => kind.held === of.held && kind.ports === of.ports)
        .map(([kind, all]) => [kind.name, summarize(all[verb])]),
    ),
  });
  return {
    measurements: [
      measurement('CNI ADD, bridge with host-local', plain, 'adds'),
      measurement('CNI DEL, bridge with host-local', plain, 'dels'),
      measurement(
        `CNI ADD with ${manyLeases.toLocaleString('en')} leases held`,
        { held: manyLeases, ports: false },
        'adds',
      ),
      measurement('CNI ADD, bridge with host-local, then portmap', withPorts, 'adds'),
      measurement('CNI DEL, portmap, then bridge with host-local', withPorts, 'dels'),
      ...(await footprint(kinds.filter(({ held, ports }) => held === 0 && !ports))),
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

/** Size on disk, and resident memory at the most during an ADD. */
async function footprint(kinds: readonly Kind[]): Promise<Measurement[]> {
  const sizes: Record<string, ReturnType<typeof summarize>> = {};
  const peaks: Record<string, ReturnType<typeof summarize>> = {};
  for (const kind of kinds) {
    sizes[kind.name] = summarize([statSync(realpathSync(join(kind.bin, 'bridge'))).size / 1e6]);
    const samples: number[] = [];
    for (let run = 0; run < 5; run++) {
      const id = `bench-peak-${run}`;
      await addNetns(id);
      const file = join(kind.bin, 'bridge');
      const peak = await peakMemory({ file, env: environment(kind, id, 'ADD'), input: kind.conf });
      await plugin(kind, id, { type: 'bridge', command: 'DEL' });
      await deleteNetns(id);
      if (peak !== undefined) samples.push(peak);
    }
    if (samples.length > 0) peaks[kind.name] = summarize(samples);
  }
  const base = 'Go plugins';
  return [
    { title: 'the executable of bridge (ours is that of every plugin)', unit: 'MB', base, peers: sizes },
    { title: 'memory of an ADD of bridge, RSS at the most', unit: 'MB', base, peers: peaks },
  ];
}

const environment = ({ bin }: Kind, id: string, command: 'ADD' | 'DEL') => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: id,
  CNI_NETNS: netnsPath(id),
  CNI_IFNAME: 'eth0',
  CNI_PATH: bin,
});

interface PluginRun {
  readonly type: 'bridge' | 'portmap';
  readonly command: 'ADD' | 'DEL';
  readonly input?: string;
}

const plugin = (kind: Kind, id: string, { type, command, input = kind.conf }: PluginRun) =>
  runSync({ argv: [join(kind.bin, type)], input, env: environment(kind, id, command) });

async function once(kind: Kind, id: string): Promise<{ add: number; del: number }> {
  await addNetns(id);
  let mapped = '';
  try {
    const add = await timed(async () => {
      const { stdout } = await plugin(kind, id, { type: 'bridge', command: 'ADD' });
      if (!kind.ports) return;
      mapped = portmapConf(kind, stdout);
      await plugin(kind, id, { type: 'portmap', command: 'ADD', input: mapped });
    });
    await sleep(settleMs);
    const del = await timed(async () => {
      if (kind.ports) await plugin(kind, id, { type: 'portmap', command: 'DEL', input: mapped });
      await plugin(kind, id, { type: 'bridge', command: 'DEL' });
    });
    return { add, del };
  } finally {
    await deleteNetns(id);
    await sleep(settleMs);
  }
}

const portmapConf = (kind: Kind, result: string): string =>
  JSON.stringify({
    cniVersion: '1.0.0',
    name: (JSON.parse(kind.conf) as { name: string }).name,
    type: 'portmap',
    runtimeConfig: { portMappings: [{ hostPort: 18080, containerPort: 80, protocol: 'tcp' }] },
    prevResult: JSON.parse(result) as object,
  });

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
