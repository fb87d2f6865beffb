// What a case gets: the peers that are up, the flags, and where to say how far it is.
import type { Progress } from '../lib/progress.ts';
import type { Options } from '../options.ts';
import type { Peer } from '../peers/peer.ts';
import type { Results } from '../report.ts';

export interface CaseContext {
  readonly peers: readonly Peer[];
  readonly options: Options;
  readonly progress: Progress;
  /** Folder on disk for the case's own files. */
  readonly folder: string;
}

export type Case = (context: CaseContext) => Promise<Results>;

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}
