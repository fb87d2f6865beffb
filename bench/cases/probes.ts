// What probing costs: a hundred Pods, each asked once a second, and the share of one core that the daemon takes for it.
// Assumes podwire alone: under containerd it is a kubelet that probes, and none is here. CPU time hardly depends on how busy
// the machine is. The Pods are made once for each kind of probe; what they cost without a probe is measured beside.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { cellCpu, parseCpu } from '../lib/cpu.ts';
import { assertGone } from '../lib/gone.ts';
import { pool } from '../lib/pool.ts';
import { summarize } from '../lib/stats.ts';
import type { Peer } from '../peers/peer.ts';
import type { Measurement } from '../report.ts';
import type { Case } from './case.ts';

const measureMs = 8000;
const port = 8080;
interface Kind {
  readonly name: string;
  readonly handler?: object;
}
const kinds: readonly Kind[] = [
  { name: 'none' },
  { name: 'tcp', handler: { tcpSocket: { port } } },
  { name: 'http', handler: { httpGet: { port, path: '/' } } },
  { name: 'exec', handler: { exec: { command: ['/bin/busybox', 'true'] } } },
];

export const probesCase: Case = async ({ peers, options, progress }) => {
  const peer = peers.find((one) => one.startProbed !== undefined && one.daemonPid !== undefined);
  if (!peer) return { measurements: [], steps: [] };
  const measurements: Measurement[] = [];
  for (const kind of kinds) {
    const { name, handler } = kind;
    const count = options.probedPods;
    progress.phase(`${count} Pods, probe: ${name}`);
    const { daemon, all } = await oneKind(peer, kind, count);
    progress.note(`daemon ${daemon.toFixed(1)} %, all ${all.toFixed(1)} %`);
    const title = handler
      ? `${count} Pods with a readiness probe by ${name} at 1 s`
      : `${count} Pods without a probe`;
    const peersOf = (share: number): Measurement['peers'] => ({ [peer.name]: summarize([share]) });
    measurements.push({
      title: `daemon, ${title}`,
      unit: '% of a core',
      base: 'containerd',
      peers: peersOf(daemon),
      // A process costs what it costs: the goal is for what the daemon does itself.
      goalValue: 10,
      remark: `over ${measureMs / 1000} s; with all the processes it starts ${all.toFixed(1)} %`,
    });
  }
  return { measurements, steps: [] };
};

async function oneKind(
  peer: Peer,
  { name, handler }: Kind,
  count: number,
): Promise<{ daemon: number; all: number }> {
  const pods = Array.from({ length: count }, (_, at) => `probed-${name}-${at}`);
  const probe = handler && { ...handler, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 3 };
  await pool(pods, 20, (pod) =>
    peer.startProbed!(pod, ['/bin/busybox', 'httpd', '-f', '-p', `${port}`], probe),
  );
  await sleep(3000); // what the starts left to do, and the first probes
  const [before, beforeAll, begun] = [daemonCpu(peer), cellCpu(), performance.now()];
  await sleep(measureMs);
  const elapsed = performance.now() - begun;
  const daemon = (100 * (daemonCpu(peer) - before)) / elapsed;
  const all = (100 * (cellCpu() - beforeAll)) / elapsed;
  if (handler) for (const pod of pods.slice(0, 5)) await peer.verify(pod);
  await pool(pods, 20, (pod) => peer.remove(pod));
  assertGone(peer.name);
  return { daemon, all };
}

const daemonCpu = (peer: Peer): number =>
  parseCpu(readFileSync(`/proc/${peer.daemonPid}/stat`, 'latin1')).own;
