// ADD and DEL of bridge with host-local: podwire's plugins against Debian's in Go, each in fresh namespaces.
// Assumes the cell. One process a verb (host-local is a second one, started by bridge); both kinds take turns.
import { existsSync, mkdirSync } from 'node:fs';
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
  readonly conf: string;
}

const ownPlugins = fileURLToPath(new URL('../../dist/cni', import.meta.url));
const settleMs = 30;

export const cniCase: Case = async ({ options, progress, folder }) => {
  progress.phase('CNI plugins: bridge with host-local');
  const kinds = [
    { name: 'podwire', bin: ownPlugins, net: 8 },
    { name: 'Go plugins', bin: goPlugins, net: 9 },
  ]
    .filter(({ name, bin }) => {
      const there = existsSync(join(bin, 'bridge'));
      if (!there) progress.note(`${name}: not measured: no ${join(bin, 'bridge')}`);
      return there;
    })
    .map((kind): Kind => ({ ...kind, conf: conf(kind.net, join(folder, `leases-${kind.net}`)) }));
  mkdirSync(folder, { recursive: true });
  const adds = new Map<string, number[]>(kinds.map(({ name }) => [name, []]));
  const dels = new Map<string, number[]>(kinds.map(({ name }) => [name, []]));
  for (let run = -2; run < options.cniRuns; run++)
    for (const kind of rotated(kinds, run + 2)) {
      progress.tick(`run ${run + 1} of ${options.cniRuns}, ${kind.name}`);
      const { add, del } = await once(kind, `bench-${run + 2}`);
      if (run < 0) continue;
      adds.get(kind.name)!.push(add);
      dels.get(kind.name)!.push(del);
    }
  const measurement = (title: string, samples: Map<string, number[]>): Measurement => ({
    title,
    unit: 'ms',
    base: 'Go plugins',
    peers: Object.fromEntries([...samples].map(([name, values]) => [name, summarize(values)])),
  });
  return {
    measurements: [
      measurement('CNI ADD, bridge with host-local', adds),
      measurement('CNI DEL, bridge with host-local', dels),
    ],
    steps: [],
  };
};

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
      ranges: [[{ subnet: `10.24${net}.0.0/24` }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  });
