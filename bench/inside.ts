// The part of the bench that runs in the cell: brings the peers up, runs the cases, hands the results out as a file.
// Assumes bench/main.ts outside, which made the cell, shows the results and takes the cell down.
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { messageOf, PodwireError } from '../lib/exec/errors.ts';
import { manyCase } from './cases/many.ts';
import type { Case, CaseContext } from './cases/case.ts';
import { cniCase } from './cases/cni.ts';
import { labCase } from './cases/lab.ts';
import { networkCase } from './cases/network.ts';
import { probesCase } from './cases/probes.ts';
import { startCase } from './cases/start.ts';
import { cellPaths, furnishCell } from './lib/cell.ts';
import { buildWorkload } from './lib/image.ts';
import type { Progress } from './lib/progress.ts';
import type { CaseName, Options, PeerName } from './options.ts';
import { missingForContainerd, startContainerd } from './peers/containerd.ts';
import type { Peer, PeerContext } from './peers/peer.ts';
import { missingForPodman, startPodman } from './peers/podman.ts';
import { startPodwire } from './peers/podwire.ts';
import type { Results } from './report.ts';

/** What a run writes to its JSON file. */
export interface Report extends Results {
  readonly when: string;
  readonly machine: object;
  readonly options: Options;
  readonly peers: Readonly<Record<string, string>>;
}

interface PeerKind {
  /** Debian packages that are not there. */
  missing(): string[];
  start(context: PeerContext): Promise<Peer>;
}

export const peerKinds: Readonly<Record<PeerName, PeerKind>> = {
  podwire: { missing: () => [], start: startPodwire },
  containerd: { missing: missingForContainerd, start: startContainerd },
  podman: { missing: missingForPodman, start: startPodman },
};

const cases: Readonly<Record<CaseName, Case>> = {
  start: startCase,
  many: manyCase,
  probes: probesCase,
  cni: cniCase,
  network: networkCase,
  lab: labCase,
};
/** Those that run Pods. */
const withPeers: readonly CaseName[] = ['start', 'many', 'probes'];

export const reportFile = (folder: string): string => join(folder, 'report.json');

export async function measure(options: Options, folder: string, progress: Progress): Promise<void> {
  const machine = machineFacts();
  await furnishCell(folder);
  const peers: Peer[] = [];
  const results: Results = { measurements: [], steps: [] };
  try {
    if (options.only.some((name) => withPeers.includes(name)))
      peers.push(...(await bringUp(options, folder, progress)));
    const context: CaseContext = { peers, options, progress, folder: join(folder, 'case') };
    for (const name of options.only) {
      const found = await cases[name](context);
      results.measurements.push(...found.measurements);
      results.steps.push(...found.steps);
    }
  } finally {
    for (const peer of peers)
      await peer.close().catch((error) => progress.note(`${peer.name}: ${messageOf(error)}`));
  }
  const versions = Object.fromEntries(peers.map((peer) => [peer.name, peer.version]));
  const report: Report = { when: new Date().toISOString(), machine, options, peers: versions, ...results };
  writeFileSync(reportFile(folder), JSON.stringify(report, null, 2));
}

/** A peer that is not there or will not start is left out, and the reason said. */
async function bringUp(options: Options, folder: string, progress: Progress): Promise<Peer[]> {
  const { id, image } = cellPaths(folder);
  progress.phase('building the image');
  const workload = await buildWorkload(image);
  const peers: Peer[] = [];
  for (const name of options.peers) {
    progress.phase(`starting ${name}`);
    const { missing, start } = peerKinds[name];
    const lacking = missing();
    if (lacking.length > 0) {
      progress.note(
        `${name}: not measured: Debian packages ${lacking.join(', ')} missing (--install-peers installs them)`,
      );
      continue;
    }
    const own = join(folder, name);
    mkdirSync(own, { recursive: true });
    try {
      peers.push(await start({ folder: own, workload, id, ipMasq: options.ipMasq }));
    } catch (error) {
      progress.note(`${name}: not measured: ${messageOf(error)}`);
    }
  }
  if (peers.length === 0) throw new PodwireError('NO_PEERS', 'nothing to measure: no peer could be started');
  return peers;
}

function machineFacts(): object {
  const [cpu] = cpus();
  return {
    kernel: release(),
    arch: arch(),
    cpu: cpu?.model ?? 'unknown',
    cpus: cpus().length,
    memoryBytes: totalmem(),
    node: process.version,
    loadBefore: loadavg()[0],
  };
}
