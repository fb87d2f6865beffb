// The one face of everything that is measured: start a Pod, remove it, and say what it keeps in memory.
// Assumes the cell (bench/lib/cell.ts): a peer's processes, mounts and links vanish with it, so close() is only manners.
// One Pod a call; calls may overlap.
import type { Step } from '../../lib/exec/step-clock.ts';
import type { PeerName } from '../options.ts';
import type { ProcessMemory } from '../lib/memory.ts';

/** What all peers run: the same image, the same command. */
export interface Workload {
  /** docker-archive of the image. */
  readonly imageArchive: string;
  readonly imageRef: string;
  readonly command: readonly [string, ...string[]];
  /** docker-archive of a pause image, for who needs one. */
  readonly pauseArchive: string;
  readonly pauseRef: string;
}

export interface PeerContext {
  /** Folder of this peer alone, on the machine's disk. */
  readonly folder: string;
  readonly workload: Workload;
  /** Suffix for names that the whole machine shares. */
  readonly id: string;
  readonly ipMasq: boolean;
}

export interface Peer {
  readonly name: PeerName;
  /** Program versions. */
  readonly version: string;
  /** Resolves when the peer has said that the Pod's container runs. This is what is timed. */
  start(pod: string): Promise<void>;
  /** Of the program that probes, where there is one. */
  readonly daemonPid?: number;
  /** A Pod with another command and, where given, a readiness probe; resolves when its container runs. */
  startProbed?(pod: string, command: readonly string[], readinessProbe: object | undefined): Promise<void>;
  /** Resolves when the peer has said that nothing of the Pod is left. Timed. */
  remove(pod: string): Promise<void>;
  /** Not timed: throws unless the Pod really runs, with an address. */
  verify(pod: string): Promise<void>;
  /** Where the time of a start went, if the peer tells. Not timed. */
  steps?(pod: string): Promise<readonly Step[]>;
  /** Which of all processes is what: 'daemon', or 'pod' for what stands beside each Pod's own processes. */
  role(process: ProcessMemory): 'daemon' | 'pod' | undefined;
  close(): Promise<void>;
}

/** Seconds that a container gets between TERM and KILL; the workload ends at TERM. */
export const graceSeconds = 1;
