// sizeLimit of emptyDirs on disk: measured every few seconds; a Pod that is over its limit is told to its kubelet,
// once. Assumes du(1). Measuring takes at most a twentieth of the time, however large the volumes are.
// Source: kubelet's emptyDirLimitEviction (it looks every 10 s).
import { quantityValue } from '../../api/quantity.ts';
import type { Pod } from '../../api/types.ts';
import { run } from '../../exec/exec.ts';
import { volumeDir } from './volume.ts';

interface Limited {
  readonly name: string;
  readonly path: string;
  readonly limit: string | number;
}

const leastPauseMs = 2000;
const pausePerWork = 20;
const measureMs = 120_000;

export type OnExceeded = (podUid: string, message: string) => void;

export class SizeLimits {
  readonly #onExceeded: OnExceeded;
  readonly #pods = new Map<string, readonly Limited[]>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(onExceeded: OnExceeded) {
    this.#onExceeded = onExceeded;
  }

  /** Repeatable; costs nothing for a Pod without such volumes. */
  watch(podsDir: string, pod: Pod): void {
    const limited = (pod.spec.volumes ?? []).flatMap((volume): Limited[] => {
      const { medium = '', sizeLimit } = volume.emptyDir ?? {};
      if (medium !== '' || sizeLimit === undefined || quantityValue(sizeLimit) === 0) return [];
      const path = volumeDir(podsDir, pod, { kind: 'empty-dir', name: volume.name });
      return [{ name: volume.name, path, limit: sizeLimit }];
    });
    if (limited.length === 0) return;
    this.#pods.set(pod.metadata.uid, limited);
    this.#schedule(leastPauseMs);
  }

  forget(podUid: string): void {
    this.#pods.delete(podUid);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #schedule(ms: number): void {
    if (this.#timer !== undefined || this.#closed || this.#pods.size === 0) return;
    this.#timer = setTimeout(() => void this.#measureAll(), ms);
    this.#timer.unref();
  }

  async #measureAll(): Promise<void> {
    const begin = Date.now();
    for (const [uid, limited] of this.#pods) {
      const over = await firstOver(limited);
      if (!over || !this.#pods.delete(uid)) continue;
      this.#onExceeded(uid, `Usage of EmptyDir volume "${over.name}" exceeds the limit "${over.limit}". `);
    }
    this.#timer = undefined;
    this.#schedule(Math.max(leastPauseMs, (Date.now() - begin) * pausePerWork));
  }
}

async function firstOver(limited: readonly Limited[]): Promise<Limited | undefined> {
  for (const one of limited) {
    const used = await diskUsage(one.path);
    if (used !== undefined && used > quantityValue(one.limit)) return one;
  }
  return undefined;
}

/** Bytes that a folder takes on its file system; undefined when it cannot be told now. */
async function diskUsage(path: string): Promise<number | undefined> {
  try {
    // 1: files went while it looked; the sum is good enough.
    const { stdout } = await run({
      argv: ['du', '-sx', '--block-size=1', '--', path],
      okCodes: [0, 1],
      timeoutMs: measureMs,
    });
    const bytes = Number.parseInt(stdout, 10);
    return Number.isNaN(bytes) ? undefined : bytes;
  } catch {
    return undefined; // gone, or too slow: the next look tells
  }
}
