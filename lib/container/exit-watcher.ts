// Sees containers die: conmon writes a file with the exit code for each into one folder.
// Assumes inotify, which may lose events or be used up, so the folder is also looked through once a second; that look also
// finds conmons that died without a word. One watch for all; the look costs a stat and a /proc read a live container.
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
  /** What failed while nobody called: of one container, or (no id) of the watch, which the look then stands in for. */
  readonly onError: (error: unknown, id?: string) => void;
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
    this.#watcher = this.#watch();
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
    for (const { id, conmon } of [...this.#options.live()])
      this.#guarded(id, () => {
        if (this.look(id) || !conmon || isAlive(conmon)) return;
        // It may have written between the two looks.
        if (!this.look(id)) this.#options.onLost(id);
      });
  }

  close(): void {
    this.#stopWatching();
    clearInterval(this.#timer);
  }

  #watch(): FSWatcher | undefined {
    const { exits, isLive, onError } = this.#options;
    try {
      // conmon writes NAME.XXXXXX and renames it: only whole files bear the id.
      const watcher = watch(exits, { persistent: false }, (_, name) => {
        if (name && isLive(name)) this.#guarded(name, () => this.look(name));
      });
      return watcher.on('error', (error) => {
        this.#stopWatching();
        onError(error);
      });
    } catch (error) {
      onError(error); // the machine has no inotify instance left
      return undefined;
    }
  }

  /** Runs what a timer or the kernel asked for: an error there would end the daemon. */
  #guarded(id: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#options.onError(error, id);
    }
  }

  #stopWatching(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}
