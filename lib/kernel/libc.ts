// The C library called in this process: by bun:ffi in bun, by node:ffi in Node. What has no way else (netlink sockets,
// setns, flock), and what costs less so (a plugin's files: bun takes 1 ms to load node:fs).
// Assumes Linux and a 64-bit C library whose shared object is libc.so.6. Nothing of it may be there: undefined then, and
// every user has a way without. One lookup a process (0.2 ms); a call costs 1-3 µs.

/** A number, the bytes behind a buffer (or 0 for NULL), or a text that the callee reads up to its closing zero. */
type Kind = 'int' | 'size' | 'bytes' | 'text';
type Value<K extends Kind> = K extends 'bytes' ? Uint8Array | 0 : K extends 'text' ? string : number;

const signatures = {
  open: ['text', 'int', 'int'],
  close: ['int'],
  read: ['int', 'bytes', 'size'],
  write: ['int', 'bytes', 'size'],
  access: ['text', 'int'],
  statx: ['int', 'text', 'int', 'int', 'bytes'],
  statfs: ['text', 'bytes'],
  readlink: ['text', 'bytes', 'size'],
  link: ['text', 'text'],
  unlink: ['text'],
  rename: ['text', 'text'],
  mkdir: ['text', 'int'],
  flock: ['int', 'int'],
  socket: ['int', 'int', 'int'],
  setsockopt: ['int', 'int', 'int', 'bytes', 'int'],
  send: ['int', 'bytes', 'size', 'int'],
  recv: ['int', 'bytes', 'size', 'int'],
  setns: ['int', 'int'],
} as const satisfies Record<string, readonly Kind[]>;

type Signatures = typeof signatures;
type Arguments<K extends readonly Kind[]> = { -readonly [At in keyof K]: Value<K[At]> };

/** Each function gives what the C function gives, or where that failed the errno as a negative number. */
export type Libc = {
  readonly [Name in keyof Signatures]: (...values: Arguments<Signatures[Name]>) => number;
};

let cached: { libc: Libc | undefined } | undefined;

/** The library, or undefined where it cannot be called (PODWIRE_NO_FFI=1 says so, too). Found out once. */
export function loadLibc(): Libc | undefined {
  cached ??= { libc: load() };
  return cached.libc;
}

function load(): Libc | undefined {
  if (process.env.PODWIRE_NO_FFI || process.platform !== 'linux') return undefined;
  if (process.arch !== 'x64' && process.arch !== 'arm64') return undefined;
  try {
    const libc = process.versions.bun ? fromBun() : fromNode();
    // A call that must fail in a known way shows that arguments and errno really pass.
    return libc.close(-1) === -9 ? libc : undefined;
  } catch {
    return undefined;
  }
}

type Raw = (...values: unknown[]) => number | bigint;

const encoder = new TextEncoder();
/** A C string. @throws TypeError for a text that a NUL would cut short */
function cString(text: string): Uint8Array {
  if (text.includes('\0')) throw new TypeError('a path holds a NUL character');
  return encoder.encode(`${text}\0`);
}

interface BunFfi {
  dlopen(file: string, symbols: object): { symbols: Record<string, Raw> };
  read: { i32(pointer: unknown, offset: number): number };
}

const bunTypes = { int: 'i32', size: 'u64_fast', bytes: 'ptr', text: 'ptr' } as const;

function fromBun(): Libc {
  const name = 'bun:ffi'; // not a literal: only bun knows the module
  const { dlopen, read } = process.getBuiltinModule(name as 'fs') as unknown as BunFfi;
  const symbols: Record<string, object> = { __errno_location: { args: [], returns: 'ptr' } };
  for (const [key, kinds] of Object.entries(signatures))
    symbols[key] = { args: kinds.map((kind) => bunTypes[kind]), returns: 'i32' };
  const raw = dlopen('libc.so.6', symbols).symbols;
  const errno = raw.__errno_location?.();
  return wrap(raw, {
    errno: () => read.i32(errno, 0),
    pass: (value, kind) =>
      kind === 'text' ? cString(value as string) : value === 0 && kind === 'bytes' ? null : value,
  });
}

const nodeTypes = { int: 'i32', size: 'u64', bytes: 'pointer', text: 'pointer' } as const;

function fromNode(): Libc {
  const { emitWarning } = process;
  process.emitWarning = () => {}; // node:ffi announces that it is experimental; the trial in load() makes that safe
  try {
    const ffi = process.getBuiltinModule('node:ffi');
    const definitions = Object.fromEntries(
      Object.entries(signatures).map(([key, kinds]) => [
        key,
        { return: 'i32' as const, arguments: kinds.map((kind) => nodeTypes[kind]) },
      ]),
    );
    const { functions } = ffi.dlopen(null, {
      ...definitions,
      __errno_location: { return: 'pointer', arguments: [] },
    });
    const raw = functions as unknown as Record<string, Raw>;
    const errno = raw.__errno_location?.() as bigint;
    return wrap(raw, {
      errno: () => ffi.getInt32(errno, 0),
      pass(value, kind) {
        if (kind === 'int') return value;
        if (kind === 'size') return BigInt(value as number);
        const bytes = kind === 'text' ? Buffer.from(cString(value as string)) : value;
        return bytes === 0 ? 0n : ffi.getRawPointer(bytes as Buffer);
      },
    });
  } finally {
    process.emitWarning = emitWarning;
  }
}

interface Passing {
  errno(): number;
  pass(value: unknown, kind: Kind): unknown;
}

function wrap(raw: Record<string, Raw>, { errno, pass }: Passing): Libc {
  const libc: Record<string, (...values: unknown[]) => number> = {};
  for (const [key, kinds] of Object.entries(signatures)) {
    const call = raw[key];
    if (!call) throw new TypeError(`libc: no ${key}`);
    libc[key] = (...values) => {
      const result = Number(call(...values.map((value, at) => pass(value, kinds[at] as Kind))));
      return result < 0 ? -errno() : result;
    };
  }
  return libc as unknown as Libc;
}
