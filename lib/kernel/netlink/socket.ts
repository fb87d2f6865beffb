// A netlink socket in a network namespace: a request out, its answers in. Blocking, but a netlink request is carried out
// inside send(2): the answer lies there when it returns, and nothing is ever waited for.
// Assumes the libc; a socket belongs for good to the namespace it was opened in, so this thread is there for that call only.
import { type Errno, KernelError } from '../errors.ts';
import type { Libc } from '../libc.ts';
import { type Answer, nlmsgDone, nlmsgError, parseAnswers, parseError, type Request } from './message.ts';

// Source: socket(7), netlink(7), open(2), setns(2).
const afNetlink = 16;
const sockRaw = 3;
const closeOnExec = 0o2000000;
const solNetlink = 270;
const extAck = 11;
const strictCheck = 12;
const dontWait = 0x40;
const truncated = 0x20;
const cloneNewNet = 0x40000000;

const one = new Uint8Array([1, 0, 0, 0]);

/** A refusal of the kernel. */
export class NetlinkError extends Error {
  readonly errno: number;
  constructor(errno: number, said: string) {
    super(said);
    this.errno = errno;
  }
}

export class NetlinkSocket {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #buffer = new Uint8Array(32 * 1024); // the kernel fits the parts of a dump into what it is given, up to this
  #sequence = 0;

  private constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#fd = fd;
    libc.setsockopt(fd, solNetlink, extAck, one);
    libc.setsockopt(fd, solNetlink, strictCheck, one); // dumps filtered by the kernel; without it, more to read
  }

  /**
   * `netns`: an open descriptor; undefined: the namespace of this thread. `protocol`: NETLINK_ROUTE (0) unless told.
   * @throws KernelError
   */
  static open(
    libc: Libc,
    { netns, protocol = 0 }: { netns?: number; protocol?: number } = {},
  ): NetlinkSocket {
    const make = (): number => libc.socket(afNetlink, sockRaw | closeOnExec, protocol);
    const fd = netns === undefined ? make() : withinNetns(libc, netns, make);
    if (fd < 0) throw kernelError(-fd, 'netlink', 'no netlink socket');
    return new NetlinkSocket(libc, fd);
  }

  /** Sends a request and gives its answers; [] where there is but an acknowledgement. @throws NetlinkError */
  ask(request: Request): Answer[] {
    const sequence = ++this.#sequence;
    const bytes = request.finish(sequence);
    const sent = this.#libc.send(this.#fd, bytes, bytes.length);
    if (sent < 0) throw new NetlinkError(-sent, 'send');
    const found: Answer[] = [];
    for (;;)
      for (const answer of this.#receive()) {
        if (answer.sequence !== sequence) continue; // of a request that failed halfway
        if (answer.type === nlmsgDone) return found;
        if (answer.type === nlmsgError) {
          const { errno, said } = parseError(answer.body);
          if (errno !== 0) throw new NetlinkError(errno, said);
          return found;
        }
        // Kept past the next recv, which writes into the same buffer.
        found.push({ ...answer, body: answer.body.slice() });
      }
  }

  #receive(): Answer[] {
    const length = this.#libc.recv(this.#fd, this.#buffer, this.#buffer.length, dontWait | truncated);
    if (length < 0) throw new NetlinkError(-length, 'the kernel gave no answer');
    if (length > this.#buffer.length) throw new NetlinkError(90, 'an answer too long to read'); // EMSGSIZE
    return parseAnswers(this.#buffer.subarray(0, length));
  }

  close(): void {
    this.#libc.close(this.#fd);
  }
}

/** An open descriptor of a namespace, named (below /run/netns) or by path; the caller closes it. @throws KernelError ENOENT */
export function openNetns(libc: Libc, netns: string): number {
  const fd = libc.open(netns.includes('/') ? netns : `/run/netns/${netns}`, closeOnExec, 0);
  if (fd < 0) throw kernelError(-fd, netns, `cannot open network namespace ${JSON.stringify(netns)}`);
  return fd;
}

/** Runs `work` while this thread is in another namespace. Nothing asynchronous may be begun in there. */
export function withinNetns<T>(libc: Libc, netns: number, work: () => T): T {
  const home = libc.open('/proc/thread-self/ns/net', closeOnExec, 0);
  if (home < 0) throw kernelError(-home, 'netns', 'cannot open our own network namespace');
  try {
    const entered = libc.setns(netns, cloneNewNet);
    if (entered < 0) throw kernelError(-entered, 'netns', 'cannot enter the network namespace');
    try {
      return work();
    } finally {
      // Going on in the wrong namespace would change somebody else's network: better no process than that.
      if (libc.setns(home, cloneNewNet) < 0) process.abort();
    }
  } finally {
    libc.close(home);
  }
}

const names: Readonly<Record<number, Errno>> = {
  1: 'EPERM',
  2: 'ENOENT',
  3: 'ESRCH',
  13: 'EPERM',
  16: 'EBUSY',
  17: 'EEXIST',
  19: 'ENODEV',
  22: 'EINVAL',
  28: 'ENOSPC',
  95: 'EOPNOTSUPP',
  99: 'EADDRNOTAVAIL',
};
/** In words, for those that a person meets; as `ip` has them. */
const words: Readonly<Record<number, string>> = {
  1: 'Operation not permitted',
  2: 'No such file or directory',
  3: 'No such process',
  13: 'Permission denied',
  16: 'Device or resource busy',
  17: 'File exists',
  19: 'No such device',
  22: 'Invalid argument',
  28: 'No space left on device',
  90: 'Message too long',
  95: 'Operation not supported',
  99: 'Cannot assign requested address',
  101: 'Network is unreachable',
  113: 'No route to host',
};

export const errnoName = (errno: number): Errno => names[errno] ?? 'EUNKNOWN';
/** What the kernel said, and what the number means. */
export const errnoText = (errno: number, said = ''): string =>
  [said, words[errno] ?? `errno ${errno}`].filter((part) => part !== '').join(': ');

export const kernelError = (errno: number, what: string, message: string): KernelError =>
  new KernelError(errnoName(errno), what, `${message}: ${errnoText(errno)}`);
