// The bench's flags. Assumes commander; pure but for its messages on a mistake.
// Every default is what the README's and docs/benchmarks.md's figures were made with.
import { Command, InvalidArgumentError } from 'commander';

export const caseNames = ['start', 'many', 'probes', 'cni', 'network', 'lab'] as const;
export const peerNames = ['podwire', 'containerd', 'podman'] as const;
export type CaseName = (typeof caseNames)[number];
export type PeerName = (typeof peerNames)[number];

export interface Options {
  readonly only: readonly CaseName[];
  readonly peers: readonly PeerName[];
  /** Measured runs of one Pod, and of the CNI plugins (a multiple of it). */
  readonly runs: number;
  readonly warmup: number;
  /** Milliseconds of rest between two measurements: the kernel goes on tidying up after a Pod. */
  readonly settle: number;
  readonly pods: number;
  /** All Pods unless told. */
  readonly concurrency?: number;
  readonly rounds: number;
  /** Pods of the "probes" case. */
  readonly probedPods: number;
  readonly cniRuns: number;
  /** containerd's conflist with ipMasq: true, which costs it iptables runs for every Pod. */
  readonly ipMasq: boolean;
  readonly installPeers: boolean;
  /** Keep the temporary folder with the daemons' logs. */
  readonly keep: boolean;
  /** Exit 1 when a goal is missed. */
  readonly check: boolean;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('expected a whole number, 1 or more');
  return value;
}

function countOrNone(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0)
    throw new InvalidArgumentError('expected a whole number, 0 or more');
  return value;
}

const listOf =
  <T extends string>(known: readonly T[]) =>
  (text: string): T[] =>
    text.split(',').map((word) => {
      if (!known.includes(word as T))
        throw new InvalidArgumentError(`"${word}": expected some of ${known.join(',')}`);
      return word as T;
    });

/** @throws CommanderError for a mistake; exits by itself for --help */
export function parseOptions(argv: readonly string[]): Options {
  return new Command('bench')
    .description('Measures podwire beside containerd (CRI, crun, Go CNI plugins) and podman kube play.')
    .option('--only <cases>', `which measurements: ${caseNames.join(',')}`, listOf(caseNames), [...caseNames])
    .option('--peers <peers>', `who: ${peerNames.join(',')}`, listOf(peerNames), [...peerNames])
    .option('--runs <n>', 'runs of one Pod', count, 20)
    .option('--warmup <n>', 'runs before them that do not count', countOrNone, 3)
    .option('--settle <ms>', 'rest between measurements', countOrNone, 250)
    .option('--pods <n>', 'Pods of the "many" case', count, 50)
    .option('--concurrency <n>', 'Pods under way at once in "many", the same for all (default: all)', count)
    .option('--rounds <n>', 'rounds of "many"', count, 3)
    .option('--probed-pods <n>', 'Pods of the "probes" case', count, 100)
    .option('--cni-runs <n>', 'runs of the CNI plugins', count, 50)
    .option('--ip-masq', 'give containerd a conflist with ipMasq: true', false)
    .option('--install-peers', 'install missing peers by apt-get (Debian, Ubuntu)', false)
    .option('--keep', "keep the temporary folder (the daemons' logs)", false)
    .option('--check', 'exit 1 when a goal is missed', false)
    .parse([...argv], { from: 'user' })
    .opts<Options>();
}
