// refs.json: which names there are, and which manifest each means. It is the truth; everything else can be rebuilt.
// Assumes several processes may look (daemon and CLI): the file is read again when it changed. One write a change.
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { readIfThere, replaceFile } from '../../kernel/files.ts';
import type { Image } from '../cri.ts';

interface RefFile {
  readonly version: 1;
  readonly images: Image[];
}

export class RefTable {
  readonly #path: string;
  #images = new Map<string, Image>();
  #seen = '';

  constructor(path: string) {
    this.#path = path;
  }

  list(): Image[] {
    this.#refresh();
    return [...this.#images.values()].sort((one, other) => (one.ref < other.ref ? -1 : 1));
  }

  get(ref: string): Image | undefined {
    this.#refresh();
    return this.#images.get(ref);
  }

  set(image: Image): void {
    this.#refresh();
    this.#images.set(image.ref, image);
    this.#write();
  }

  delete(ref: string): void {
    this.#refresh();
    if (this.#images.delete(ref)) this.#write();
  }

  #write(): void {
    const file: RefFile = { version: 1, images: [...this.#images.values()] };
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    replaceFile(this.#path, `${JSON.stringify(file, null, 2)}\n`);
    this.#seen = this.#stamp();
  }

  #refresh(): void {
    const stamp = this.#stamp();
    if (stamp === this.#seen) return;
    const text = readIfThere(this.#path);
    const images = text === undefined ? [] : (JSON.parse(text) as RefFile).images;
    this.#images = new Map(images.map((image) => [image.ref, image]));
    this.#seen = stamp;
  }

  /** Every write makes a new inode (rename), so inode and time tell one version from another. */
  #stamp(): string {
    const stat = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    return stat ? `${stat.ino}.${stat.mtimeNs}` : 'absent';
  }
}
