// `Net` by rtnetlink in this process: no program is started but where a link of our own namespace is removed.
// Assumes lib/kernel/libc.ts; changes that it cannot say (see canEncode) go to `ip` whole, list by list. A change costs what
// the kernel takes for it and 20 µs; one after another, as the kernel would not stop a pipeline at its first failure.
import { KernelError } from '../errors.ts';
import { IpBatchError, type KernelOptions } from '../ip.ts';
import { type Libc, loadLibc } from '../libc.ts';
import { checkLinkName } from '../link.ts';
import { ipLine, ipNet, type LinkFacts, type Net, type NetOp } from '../net.ts';
import { traceFromEnv } from '../trace.ts';
import { canEncode, encode } from './encode.ts';
import { linkIndex, lookAt } from './look.ts';
import { errnoName, errnoText, kernelError, NetlinkError, NetlinkSocket, openNetns } from './socket.ts';

type Options = Omit<KernelOptions, 'netns'>;

/** `Net` as PODWIRE_NET says, `netlink` or `ip`; without a word netlink where this process can speak it. */
export function openNet(options: Options = {}): Net {
  const libc = process.env.PODWIRE_NET === 'ip' ? undefined : loadLibc();
  return libc ? netlinkNet(libc, options) : ipNet(options);
}

/** `Net` by rtnetlink. */
export function netlinkNet(libc: Libc, options: Options = {}): Net {
  const byIp = ipNet(options);
  const here = new Here(libc);
  return {
    async apply(ops, netns) {
      if (ops.length === 0) return [];
      if (!ops.every(canEncode)) return byIp.apply(ops, netns);
      if (netns === undefined) return carryOut({ libc, socket: here.socket(), options }, ops);
      return inNetns(libc, netns, (socket) => carryOut({ libc, socket, options, netns }, ops));
    },
    glance: (name) => told(name, () => lookAt(here.socket(), checkLinkName(name))),
    async inspect(name, netns) {
      const look = (socket: NetlinkSocket) => told(name, () => lookAt(socket, checkLinkName(name)));
      return netns === undefined ? look(here.socket()) : inNetns(libc, netns, look);
    },
    deleteLink: (name, netns) => byIp.deleteLink(name, netns),
  };
}

/** The socket of our own namespace, opened with its first use and kept: closing would cost more than it frees. */
class Here {
  readonly #libc: Libc;
  #socket: NetlinkSocket | undefined;
  constructor(libc: Libc) {
    this.#libc = libc;
  }

  socket(): NetlinkSocket {
    this.#socket ??= NetlinkSocket.open(this.#libc);
    return this.#socket;
  }
}

function inNetns<T>(libc: Libc, netns: string, work: (socket: NetlinkSocket) => T): T {
  const fd = openNetns(libc, netns);
  try {
    const socket = NetlinkSocket.open(libc, { netns: fd });
    try {
      return work(socket);
    } finally {
      socket.close();
    }
  } finally {
    libc.close(fd);
  }
}

interface Task {
  readonly libc: Libc;
  readonly socket: NetlinkSocket;
  readonly options: Options;
  readonly netns?: string;
}

/** One after another; stops at the first failure. @throws IpBatchError whose `line` counts the op */
function carryOut(task: Task, ops: readonly NetOp[]): LinkFacts[] {
  const { socket, options, netns } = task;
  const seen: LinkFacts[] = [];
  const indexes = new Map<string, number>();
  for (const [line, op] of ops.entries()) {
    try {
      if (op.op === 'look') seen.push(needed(op.name, lookAt(socket, op.name)));
      else change(task, op, indexes);
    } catch (error) {
      throw failure(error, op, line);
    }
  }
  const lines = (): string[] => ops.filter(({ op }) => op !== 'look').map(ipLine);
  const trace = options.trace ?? (process.env.PODWIRE_TRACE ? traceFromEnv() : undefined);
  trace?.({ tool: 'ip', ...(netns === undefined ? {} : { netns }), lines: lines() });
  return seen;
}

/** Indexes hold for a list: a link's index changes only with the link, and such a change comes as an op. */
function change({ libc, socket }: Task, op: NetOp, indexes: Map<string, number>): void {
  const opened: number[] = [];
  try {
    const request = encode(op, {
      link(name) {
        const index = indexes.get(name) ?? needed(name, linkIndex(socket, checkLinkName(name)));
        indexes.set(name, index);
        return index;
      },
      netns(name) {
        opened.push(openNetns(libc, name));
        return opened.at(-1) as number;
      },
    });
    if (!request) throw new KernelError('EOPNOTSUPP', op.op, `netlink: ${op.op} is not encoded`);
    socket.ask(request);
    if (op.op === 'deleteLink') indexes.clear();
  } finally {
    for (const fd of opened) libc.close(fd);
  }
}

function needed<T>(name: string, found: T | undefined): T {
  if (found === undefined)
    throw new KernelError('ENODEV', name, `Cannot find device ${JSON.stringify(name)}`);
  return found;
}

function failure(error: unknown, op: NetOp, line: number): unknown {
  const what = `ip ${ipLine(op)}`;
  if (error instanceof NetlinkError)
    return new IpBatchError(
      errnoName(error.errno),
      what,
      `${what}: ${errnoText(error.errno, error.message)}`,
      {
        line,
        cause: error,
      },
    );
  if (error instanceof KernelError)
    return new IpBatchError(error.code, what, `${what}: ${error.message}`, { line, cause: error });
  return error;
}

/** A refusal outside of a list of changes. @throws KernelError */
function told<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelError(error.errno, name, `link ${name}`);
    throw error;
  }
}
