// Joins the first process of a container: its output from its log as conmon writes it, its input through conmon's attach
// socket, its terminal's size through conmon's control fifo.
// Assumes conmon 2.0.25 or later, and node:ffi for input, for the socket is a SOCK_SEQPACKET, which Node cannot open. Who
// reads slowly costs nothing: the log waits. One open file and, with input, one socket a session.
import { closeSync, constants, openSync, statSync, writeSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { messageOf } from '../exec/errors.ts';
import type { ExecSession } from '../exec/session.ts';
import { loadLibc, type Libc } from '../kernel/libc.ts';
import { resizeCommand } from './conmon.ts';
import type { ContainerFiles, ContainerRecord } from './container-record.ts';
import type { AttachRequest } from './cri.ts';
import { ContainerError } from './errors.ts';
import { followOutput } from './logs.ts';

export interface AttachTarget {
  readonly record: ContainerRecord;
  readonly files: ContainerFiles;
  readonly isOver: () => boolean;
}

/** @throws ContainerError ContainerNotRunning: without input to give */
export function attachToContainer(target: AttachTarget, request: AttachRequest): ExecSession {
  const { record, files, isOver } = target;
  const { logPath, tty, stdin } = record.config;
  const input = request.stdin && stdin ? AttachInput.open(files.attach, record) : undefined;
  const from = statSync(logPath, { throwIfNoEntry: false })?.size ?? 0; // before any input can be answered
  const stop = new AbortController();
  const listeners: Record<'stdout' | 'stderr', Array<(chunk: Buffer) => void>> = { stdout: [], stderr: [] };
  const pump = async (): Promise<number> => {
    try {
      const options = { path: logPath, from, isFinished: isOver, signal: stop.signal };
      for await (const { stream, text } of followOutput(options)) {
        for (const listener of listeners[stream]) listener(text);
        await gate.open;
      }
    } finally {
      input?.close();
    }
    return 0;
  };
  const gate = new Gate();
  return {
    onStdout: (listener) => listeners.stdout.push(listener),
    onStderr: (listener) => listeners.stderr.push(listener),
    pauseOutput: () => gate.shut(),
    resumeOutput: () => gate.unlock(),
    writeStdin: (chunk) => input?.write(chunk) ?? Promise.resolve(),
    closeStdin: () => input?.close(),
    resize(columns, rows) {
      if (!tty || columns <= 0 || rows <= 0 || isOver()) return;
      try {
        tellConmon(files.ctl, resizeCommand(Math.floor(columns), Math.floor(rows)));
      } catch {
        // It has just ended.
      }
    },
    kill: () => {
      stop.abort();
      gate.unlock();
    },
    exit: Promise.resolve().then(pump),
  };
}

/** Lets nobody pass while it is shut. */
class Gate {
  open: Promise<void> = Promise.resolve();
  #unlock: () => void = () => {};

  shut(): void {
    this.#unlock();
    this.open = new Promise((resolve) => {
      this.#unlock = resolve;
    });
  }

  unlock(): void {
    this.#unlock();
  }
}

/** @throws Error ENXIO when no conmon listens any more */
export function tellConmon(fifo: string, command: string): void {
  const fd = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    writeSync(fd, command);
  } finally {
    closeSync(fd);
  }
}

// Source: socket(7), unix(7), shutdown(2).
const afUnix = 1;
const seqPacket = 5;
const nonBlock = 0o4000;
const closeOnExec = 0o2000000;
const shutReads = 0;
const again = -11;
/** conmon reads so much at a time, and drops what is longer. Source: CONN_SOCK_BUF_SIZE. */
const packetBytes = 8192;
const retryMs = 5;

/** The way in. What cannot be taken at once waits, and so does who writes it. */
class AttachInput {
  readonly #libc: Libc;
  #fd: number;
  #writing: Promise<void> = Promise.resolve();

  private constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#fd = fd;
  }

  /** @throws ContainerError */
  static open(socket: string, { id, config }: ContainerRecord): AttachInput {
    try {
      const libc = loadLibc();
      if (!libc) throw new Error('this Node has no node:ffi');
      return new AttachInput(libc, connectTo(libc, socket));
    } catch (error) {
      const message = `container ${config.name}: its input cannot be reached: ${messageOf(error)}`;
      throw new ContainerError('ContainerNotRunning', id, message, { cause: error });
    }
  }

  write(chunk: Buffer): Promise<void> {
    this.#writing = this.#writing.then(() => this.#send(chunk));
    return this.#writing;
  }

  /** What was written before goes first. */
  close(): void {
    this.#writing = this.#writing.then(() => {
      if (this.#fd >= 0) this.#libc.close(this.#fd);
      this.#fd = -1;
    });
  }

  async #send(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      if (this.#fd < 0) return; // its process has ended: nobody is there to take it
      const part = chunk.subarray(at, at + packetBytes);
      const sent = this.#libc.send(this.#fd, part, part.length);
      if (sent === again) await new Promise((resolve) => setTimeout(resolve, retryMs));
      else if (sent < 0) return;
      else at += sent;
    }
  }
}

function connectTo(libc: Libc, socket: string): number {
  // The path may be longer than an address holds: it is named by its open folder, as conmon names it.
  const folder = openSync(dirname(socket), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const fd = libc.socket(afUnix, seqPacket | nonBlock | closeOnExec, 0);
    if (fd < 0) throw new Error(`socket: errno ${-fd}`);
    const done = libc.connect(fd, unixAddress(`/proc/self/fd/${folder}/${basename(socket)}`));
    if (done < 0) {
      libc.close(fd);
      throw new Error(`conmon's attach socket: errno ${-done}`);
    }
    // Output comes from the log. conmon would wait for us to read it here; so it learns that nobody will.
    libc.shutdown(fd, shutReads);
    return fd;
  } finally {
    closeSync(folder);
  }
}

/** A sockaddr_un. Pure. */
function unixAddress(path: string): Uint8Array {
  const address = new Uint8Array(110);
  address[0] = afUnix; // sun_family, little-endian on both of our machines
  address.set(Buffer.from(path), 2);
  return address;
}
