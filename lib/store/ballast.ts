// Room held back for the day the disk is full: to delete something needs space, too, and so would fail just then.
// Assumes a file beside the store may be made. It is larger than the store's write-ahead log gets (1000 pages and a write):
// only when all of the log fits into the database does it give back its own room. Written once, some ms.
import { closeSync, openSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

export const ballastBytes = 6 << 20;
const piece = Buffer.alloc(64 << 10, 'podwire ballast\n');

export class Ballast {
  readonly #path: string;

  /** `<store>.ballast` */
  constructor(storePath: string) {
    this.#path = `${storePath}.ballast`;
  }

  /** Writes it where it is not there and as much again stays free; true when it is there. It is a help: nothing throws. */
  fill(): boolean {
    try {
      const size = this.#size();
      if (size === ballastBytes) return true;
      const { bavail, bsize } = statfsSync(dirname(this.#path));
      if (bavail * bsize + size < 2 * ballastBytes) return false;
      this.#write();
      return true;
    } catch {
      rmSync(this.#path, { force: true }); // a part of it may be written
      return false;
    }
  }

  /** Gives the room back; false when there is none. */
  drop(): boolean {
    const had = this.#size() > 0;
    rmSync(this.#path, { force: true });
    return had;
  }

  #write(): void {
    const fd = openSync(this.#path, 'w', 0o600);
    try {
      for (let left = ballastBytes; left > 0; left -= piece.length) writeFileSync(fd, piece);
    } finally {
      closeSync(fd);
    }
  }

  #size(): number {
    return statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
  }
}
