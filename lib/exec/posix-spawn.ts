// Starts processes by posix_spawn(3) through node:ffi, where this Node has it and it works.
// Assumes Linux and glibc's struct sizes (smaller than the buffers here). A child gets the descriptors it is told, no other.
// Why: Node starts a child by fork(), which blocks the event loop for 2-3 ms in a daemon of 90 MB (page tables are
// copied, then each page written to faults); posix_spawn shares the memory until exec and costs 0.4 ms.
import { closeSync, openSync, readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { type Ffi, loadFfi } from './ffi.ts';

export interface SpawnRequest {
  /** Absolute path. */
  readonly file: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string | undefined;
  /** Our descriptors that become 0, 1, 2, … of the child; 'null' is /dev/null. */
  readonly fds: ReadonlyArray<number | 'null'>;
  /** 'own': it leads a process group; unless told, it is of ours. */
  readonly group?: 'own' | undefined;
}

export interface ProcessEnd {
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

export interface PosixSpawner {
  /**
   * Gives the pid, or the errno as a negative number. Every pid must be waited for.
   * @throws TypeError when an argument or a variable holds a NUL character
   */
  start(request: SpawnRequest): number;
  /** Resolves when the process has ended and is reaped. */
  wait(pid: number): Promise<ProcessEnd>;
  /** A pipe whose two descriptors are closed on exec. @throws Error when there are no descriptors left */
  pipe(): { read: number; write: number };
}

let cached: { spawner: PosixSpawner | undefined } | undefined;

/** The spawner, or undefined where this Node cannot. Found out once, by a start that must fail. */
export function posixSpawner(): PosixSpawner | undefined {
  cached ??= { spawner: load() };
  return cached.spawner;
}

function load(): PosixSpawner | undefined {
  if (process.platform !== 'linux') return undefined;
  const ffi = loadFfi();
  if (!ffi) return undefined;
  try {
    return newSpawner(ffi, bindCloseFrom(ffi));
  } catch {
    return undefined;
  }
}

// Sizes from glibc: posix_spawnattr_t is 336 bytes, posix_spawn_file_actions_t 80, sigset_t 128.
const attrSize = 512;
const actionsSize = 256;
const sigsetSize = 128;
// Source: spawn.h, fcntl.h, wait.h.
const setProcessGroup = 0x02;
const setSigDefault = 0x04;
const setSigMask = 0x08;
const closeOnExec = 0o2000000;
const noHang = 1;
const setDescriptorFlags = 2;
const closeOnExecFlag = 1;

const definitions = {
  posix_spawn: {
    return: 'i32',
    arguments: ['pointer', 'string', 'pointer', 'pointer', 'pointer', 'pointer'],
  },
  posix_spawnattr_init: { return: 'i32', arguments: ['pointer'] },
  posix_spawnattr_setflags: { return: 'i32', arguments: ['pointer', 'i16'] },
  posix_spawnattr_setsigdefault: { return: 'i32', arguments: ['pointer', 'pointer'] },
  posix_spawnattr_setsigmask: { return: 'i32', arguments: ['pointer', 'pointer'] },
  posix_spawn_file_actions_init: { return: 'i32', arguments: ['pointer'] },
  posix_spawn_file_actions_adddup2: { return: 'i32', arguments: ['pointer', 'i32', 'i32'] },
  posix_spawn_file_actions_addchdir_np: { return: 'i32', arguments: ['pointer', 'string'] },
  fcntl: { return: 'i32', arguments: ['i32', 'i32', 'i32'] },
  posix_spawn_file_actions_destroy: { return: 'i32', arguments: ['pointer'] },
  pipe2: { return: 'i32', arguments: ['pointer', 'i32'] },
  waitpid: { return: 'i32', arguments: ['i32', 'pointer', 'i32'] },
} as const;

const signalNames = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]),
);

type CloseFrom = (actions: Buffer, lowest: number) => number;

/** For tests of the way without `closeFrom`. @throws Error where posix_spawn does not work */
export const newSpawner = (ffi: Ffi, closeFrom: CloseFrom | undefined): PosixSpawner =>
  new Spawner(ffi, closeFrom);

/** Since glibc 2.34; undefined before. */
export function bindCloseFrom(ffi: Ffi): CloseFrom | undefined {
  try {
    const { functions } = ffi.dlopen(null, {
      posix_spawn_file_actions_addclosefrom_np: { return: 'i32', arguments: ['pointer', 'i32'] },
    });
    return functions.posix_spawn_file_actions_addclosefrom_np;
  } catch {
    return undefined;
  }
}

class Spawner implements PosixSpawner {
  readonly #ffi: Ffi;
  readonly #c: ReturnType<typeof bind>;
  readonly #closeFrom: CloseFrom | undefined;
  // Buffers are handed to the C library themselves, not as addresses: so they live until each call is over.
  readonly #attributes: Buffer;
  readonly #ownGroup: Buffer;
  readonly #devNull: number;

  constructor(ffi: Ffi, closeFrom: CloseFrom | undefined) {
    this.#ffi = ffi;
    this.#c = bind(ffi);
    this.#closeFrom = closeFrom;
    this.#devNull = openSync('/dev/null', 'r+');
    // Node ignores SIGPIPE and libuv blocks nothing for long, but a child must start with neither.
    this.#attributes = this.#newAttributes(setSigDefault | setSigMask);
    // The attribute's group is 0 unless set: a new one, named after the process.
    this.#ownGroup = this.#newAttributes(setSigDefault | setSigMask | setProcessGroup);
    const missing = this.start({
      file: '/nonexistent/program',
      argv: ['x'],
      env: {},
      fds: ['null', 'null', 'null'],
    });
    // A call that must fail in a known way shows that arguments really pass.
    if (missing === -constants.errno.ENOENT) return;
    closeSync(this.#devNull);
    throw new Error(`posix_spawn gave ${missing}`);
  }

  #newAttributes(flags: number): Buffer {
    const attributes = Buffer.alloc(attrSize);
    this.#c.posix_spawnattr_init(attributes);
    this.#c.posix_spawnattr_setsigdefault(attributes, Buffer.alloc(sigsetSize, 0xff));
    this.#c.posix_spawnattr_setsigmask(attributes, Buffer.alloc(sigsetSize));
    this.#c.posix_spawnattr_setflags(attributes, flags);
    return attributes;
  }

  start(request: SpawnRequest): number {
    const { file, argv, env, cwd, fds, group } = request;
    const actions = Buffer.alloc(actionsSize);
    const pid = Buffer.alloc(4);
    const texts: Buffer[] = []; // the arrays hold their addresses
    const args = this.#strings(argv, texts);
    const environment = this.#strings(
      Object.entries(env).map(([name, value]) => `${name}=${value}`),
      texts,
    );
    this.#c.posix_spawn_file_actions_init(actions);
    try {
      fds.forEach((fd, target) => {
        this.#c.posix_spawn_file_actions_adddup2(actions, fd === 'null' ? this.#devNull : fd, target);
      });
      this.#closeOthers(actions, fds.length);
      if (cwd !== undefined) this.#c.posix_spawn_file_actions_addchdir_np(actions, cwd);
      const attributes = group === 'own' ? this.#ownGroup : this.#attributes;
      const errno = this.#c.posix_spawn(pid, file, actions, attributes, args, environment);
      return errno === 0 ? pid.readInt32LE(0) : -errno;
    } finally {
      this.#c.posix_spawn_file_actions_destroy(actions);
      texts.length = 0; // and so they live until here
    }
  }

  /** Not all descriptors of this process are closed on exec: node-pty's are not, nor what a shell left open for us. */
  #closeOthers(actions: Buffer, lowest: number): void {
    if (this.#closeFrom) this.#closeFrom(actions, lowest);
    else
      for (const fd of readdirSync('/proc/self/fd').map(Number))
        if (fd > 2) this.#c.fcntl(fd, setDescriptorFlags, closeOnExecFlag);
  }

  /** A NULL-terminated array of C strings. A NUL inside a text would cut it short, so it is refused. */
  #strings(words: readonly string[], keep: Buffer[]): Buffer {
    const array = Buffer.alloc(8 * (words.length + 1));
    words.forEach((word, index) => {
      if (word.includes('\0')) throw new TypeError('an argument or variable holds a NUL character');
      const text = Buffer.from(`${word}\0`);
      keep.push(text);
      array.writeBigUInt64LE(this.#ffi.getRawPointer(text), 8 * index);
    });
    return array;
  }

  async wait(pid: number): Promise<ProcessEnd> {
    const status = Buffer.alloc(4);
    // Whoever waits has seen the child's pipes close, so that it is ending right now: first look often, then seldom.
    for (let look = 0; ; look += 1) {
      const found = this.#c.waitpid(pid, status, noHang);
      if (found === pid) return endOf(status.readInt32LE(0));
      if (found < 0) return { exitCode: undefined, signal: undefined }; // reaped by somebody else
      await (look < 20 ? setImmediate() : setTimeout(Math.min(look - 19, 20)));
    }
  }

  pipe(): { read: number; write: number } {
    const ends = Buffer.alloc(8);
    if (this.#c.pipe2(ends, closeOnExec) !== 0) throw new Error('pipe2: no file descriptors left');
    return { read: ends.readInt32LE(0), write: ends.readInt32LE(4) };
  }
}

const bind = (ffi: Ffi) => ffi.dlopen(null, definitions).functions;

/** Source: wait(2), WIFEXITED and WTERMSIG. */
function endOf(status: number): ProcessEnd {
  const signal = status & 0x7f;
  if (signal === 0) return { exitCode: (status >> 8) & 0xff, signal: undefined };
  return { exitCode: undefined, signal: signalNames.get(signal) };
}
