// Removes images that nobody uses when the disk they are on is too full: the longest unused first, until it is empty enough.
// Assumes images in use are those of the runtime's containers, ended ones too, and that the service refuses to remove what
// is used. A look is one statfs; a sweep one removal an image.
// Source: kubelet's image_gc_manager (imageGCHighThresholdPercent, imageGCLowThresholdPercent, imageMinimumGCAge 2m, a look
// every 5 minutes).
import type { Image, ImageService, RuntimeService } from '../container/cri.ts';
import { messageOf } from '../exec/errors.ts';

export interface ImageGcLimits {
  /** Percent of the disk: above it images are removed. 100: never. */
  readonly high: number;
  /** Until it is down to this. */
  readonly low: number;
}

export interface ImageGcOptions {
  readonly images: ImageService;
  readonly runtime: Pick<RuntimeService, 'listContainers'>;
  readonly limits: ImageGcLimits;
  /** Percent of the images' disk that is used. */
  readonly usage: () => number;
  readonly log: { info(message: string): void; warn(message: string): void };
  /** Milliseconds; Date.now unless told. */
  readonly now?: () => number;
}

const lookMs = 5 * 60_000;
/** Younger ones stay: their Pod may be about to start. */
const minimumAgeMs = 2 * 60_000;

/** When an image was first seen here, and last seen in use. */
interface Seen {
  readonly since: number;
  used: number;
}

export class ImageGc {
  readonly #options: ImageGcOptions;
  readonly #seen = new Map<string, Seen>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ImageGcOptions) {
    this.#options = options;
  }

  /** The first look is at once: from then on ages count. */
  start(): void {
    const look = (): void =>
      void this.look().catch((error) =>
        this.#options.log.warn(`image garbage collection: ${messageOf(error)}`),
      );
    this.#timer = setInterval(look, lookMs).unref();
    look();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async look(): Promise<void> {
    const { images, usage, limits, log, now = Date.now } = this.#options;
    const byId = Map.groupBy(await images.list(), ({ id }) => id);
    byId.delete(''); // the machine's own root
    const used = this.#note(byId.keys(), now());
    const percent = usage();
    if (limits.high >= 100 || percent < limits.high) return;
    const removable = removalOrder(this.#seen, used, now());
    let freed = 0;
    for (const id of removable) {
      if (usage() <= limits.low) break;
      if (await this.#remove(byId.get(id)!)) freed++;
    }
    const left = usage();
    const told = `the disk of the images was ${Math.round(percent)} % full: ${freed} unused images removed, now ${Math.round(left)} %`;
    if (left > limits.low) log.warn(`${told}; no more can go (--image-gc-low-threshold ${limits.low})`);
    else log.info(told);
  }

  /** The disk is so short that Pods would have to go: every image that may go goes. Source: kubelet's DeleteUnusedImages. */
  async removeUnused(): Promise<void> {
    const { images, log } = this.#options;
    const byId = Map.groupBy(await images.list(), ({ id }) => id);
    byId.delete('');
    const used = this.#note(byId.keys(), Date.now());
    const unused = [...byId].filter(([id]) => !used.has(id));
    for (const [, names] of unused) await this.#remove(names);
    log.info(`the disk is short: ${unused.length} unused images removed`);
  }

  #note(ids: Iterable<string>, at: number): ReadonlySet<string> {
    const there = new Set(ids);
    for (const id of this.#seen.keys()) if (!there.has(id)) this.#seen.delete(id);
    const used = new Set(this.#options.runtime.listContainers().map(({ imageId }) => imageId));
    for (const id of there) {
      const seen = this.#seen.get(id) ?? { since: at, used: 0 };
      if (used.has(id)) seen.used = at;
      this.#seen.set(id, seen);
    }
    return used;
  }

  /** With all its names; one that came into use meanwhile is refused, and stays. */
  async #remove(names: readonly Image[]): Promise<boolean> {
    try {
      for (const { ref } of names) await this.#options.images.remove(ref);
      return true;
    } catch (error) {
      this.#options.log.info(`image ${names[0]?.ref} stays: ${messageOf(error)}`);
      return false;
    }
  }
}

/** Ids that may go, the longest unused first; of those never used the first that came. Pure. */
export function removalOrder(
  seen: ReadonlyMap<string, { readonly since: number; readonly used: number }>,
  used: ReadonlySet<string>,
  now: number,
): string[] {
  return [...seen]
    .filter(([id, { since }]) => !used.has(id) && now - since >= minimumAgeMs)
    .sort(([, one], [, other]) => one.used - other.used || one.since - other.since)
    .map(([id]) => id);
}
