// Sees containers die: conmon writes a file with the exit code for each into one folder.
// Assumes inotify, which may lose events, so the folder is also looked through once a second; that look also finds
// conmons that died without a word. One watch for all; the look costs a stat and a /proc read a live container.
import { type FSWatcher, mkdirSync, readFileSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { isAlive, type ProcessIdentity } from '../kernel/process.ts';

const relistMs = 1000;

export interface WatchedContainer {
  readonly id: string;
  readonly conmon: ProcessIdentity | undefined;
}

export interface ExitWatcherOptions {
  /** Folder of the exit files. */
  readonly exits: string;
  /** Containers whose end is not known yet. */
  readonly live: () => Iterable<WatchedContainer>;
  readonly isLive: (id: string) => boolean;
  readonly onExit: (id: string, exit: ExitFile) => void;
  /** conmon is gone and left no exit file: nobody will ever tell the exit code. */
  readonly onLost: (id: string) => void;
}

export interface ExitFile {
  readonly code: number;
  /** RFC 3339; when conmon wrote it. */
  readonly at: string;
}

/** What conmon wrote, undefined when it has not. @throws on every other failure to read */
export function readExitFile(path: string): ExitFile | undefined {
  try {
    const code = Number(readFileSync(path, 'utf8').trim() || Number.NaN);
    if (!Number.isInteger(code)) return undefined;
    // conmon reports what waitpid could not tell as -1.
    return { code: code < 0 ? 255 : code, at: statSync(path).mtime.toISOString() };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export class ExitWatcher {
  readonly #options: ExitWatcherOptions;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ExitWatcherOptions) {
    this.#options = options;
    mkdirSync(options.exits, { recursive: true, mode: 0o700 });
    // conmon writes NAME.XXXXXX and renames it: only whole files bear the id.
    this.#watcher = watch(options.exits, { persistent: false }, (_, name) => {
      if (name && options.isLive(name)) this.look(name);
    });
    this.#watcher.on('error', () => this.#stopWatching()); // the slow look goes on
    this.#timer = setInterval(() => this.lookAtAll(), relistMs);
    this.#timer.unref();
  }

  /** True when its exit file was there. */
  look(id: string): boolean {
    const exit = readExitFile(join(this.#options.exits, id));
    if (exit) this.#options.onExit(id, exit);
    return exit !== undefined;
  }

  lookAtAll(): void {
    for (const { id, conmon } of [...this.#options.live()]) {
      if (this.look(id) || !conmon || isAlive(conmon)) continue;
      // It may have written between the two looks.
      if (!this.look(id)) this.#options.onLost(id);
    }
  }

  close(): void {
    this.#stopWatching();
    clearInterval(this.#timer);
  }

  #stopWatching(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}
