// Compiles a seccomp profile to the program that the kernel runs, by libseccomp in this process, once a profile.
// Assumes libseccomp.so.2, which both OCI runtimes need anyway; undefined where it cannot be had. Why: crun compiles
// the default profile in 12 ms for every container; given the bytes in an annotation it needs none of them.
import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { type Ffi, loadFfi } from '../../exec/ffi.ts';
import type { SeccompProfile, SeccompRule } from './seccomp.ts';

// Source: seccomp.h of libseccomp 2.5.
const actions: Readonly<Record<string, number>> = { SCMP_ACT_ALLOW: 0x7fff0000, SCMP_ACT_ERRNO: 0x00050000 };
const operators: Readonly<Record<string, number>> = {
  SCMP_CMP_NE: 1,
  SCMP_CMP_EQ: 4,
  SCMP_CMP_MASKED_EQ: 7,
};
const unknownSyscall = -1;
const alreadyThere = -17; // EEXIST

interface Libseccomp {
  readonly init: (action: number) => bigint;
  readonly release: (filter: bigint) => void;
  readonly archOf: (name: string) => number;
  readonly addArch: (filter: bigint, arch: number) => number;
  readonly syscallOf: (name: string) => number;
  readonly addRule: (filter: bigint, action: number, syscall: number, count: number, args: Buffer) => number;
  readonly exportBpf: (filter: bigint, fd: number) => number;
}

let library: { calls: Libseccomp | undefined } | undefined;

/** The program in base64, or undefined where libseccomp cannot be called. `scratch`: a file to make and remove. */
export function compileSeccomp(profile: SeccompProfile, scratch: string): string | undefined {
  library ??= { calls: open() };
  const { calls } = library;
  if (!calls) return undefined;
  try {
    return compile(calls, profile, scratch).toString('base64');
  } catch {
    return undefined; // the runtime compiles it then, and says what is wrong with it
  }
}

function open(): Libseccomp | undefined {
  const ffi = loadFfi();
  if (!ffi) return undefined;
  try {
    return bind(ffi);
  } catch {
    return undefined;
  }
}

function bind(ffi: Ffi): Libseccomp {
  const { functions: call } = ffi.dlopen('libseccomp.so.2', {
    seccomp_init: { return: 'pointer', arguments: ['u32'] },
    seccomp_release: { return: 'void', arguments: ['pointer'] },
    seccomp_arch_resolve_name: { return: 'u32', arguments: ['string'] },
    seccomp_arch_add: { return: 'i32', arguments: ['pointer', 'u32'] },
    seccomp_syscall_resolve_name: { return: 'i32', arguments: ['string'] },
    seccomp_rule_add_array: { return: 'i32', arguments: ['pointer', 'u32', 'i32', 'u32', 'buffer'] },
    seccomp_export_bpf: { return: 'i32', arguments: ['pointer', 'i32'] },
  });
  return {
    init: (action) => call.seccomp_init(action) as bigint,
    release: (filter) => void call.seccomp_release(filter),
    archOf: (name) => call.seccomp_arch_resolve_name(name) as number,
    addArch: (filter, arch) => call.seccomp_arch_add(filter, arch) as number,
    syscallOf: (name) => call.seccomp_syscall_resolve_name(name) as number,
    addRule: (filter, action, syscall, count, args) =>
      call.seccomp_rule_add_array(filter, action, syscall, count, args) as number,
    exportBpf: (filter, fd) => call.seccomp_export_bpf(filter, fd) as number,
  };
}

function compile(calls: Libseccomp, profile: SeccompProfile, scratch: string): Buffer {
  const defaultAction = actionOf(profile.defaultAction, profile.defaultErrnoRet ?? 1);
  const filter = calls.init(defaultAction);
  if (!filter) throw new Error('seccomp_init failed');
  try {
    for (const name of profile.architectures) {
      const arch = calls.archOf(name.replace('SCMP_ARCH_', '').toLowerCase());
      const result = arch === 0 ? -1 : calls.addArch(filter, arch);
      if (result !== 0 && result !== alreadyThere) throw new Error(`seccomp_arch_add ${name}: ${result}`);
    }
    for (const rule of profile.syscalls) addRule(calls, filter, rule, defaultAction);
    return exported(calls, filter, scratch);
  } finally {
    calls.release(filter);
  }
}

function addRule(calls: Libseccomp, filter: bigint, rule: SeccompRule, defaultAction: number): void {
  const action = actionOf(rule.action, rule.errnoRet ?? 1);
  if (action === defaultAction) return;
  const args = encodeArguments(rule.args ?? []);
  for (const name of rule.names) {
    const syscall = calls.syscallOf(name);
    if (syscall === unknownSyscall) continue; // younger than this libseccomp: stays forbidden
    const result = calls.addRule(filter, action, syscall, rule.args?.length ?? 0, args);
    if (result !== 0) throw new Error(`seccomp_rule_add ${name}: ${result}`);
  }
}

/** struct scmp_arg_cmp: argument number, operator (32 bits each), two operands (64 bits each). */
function encodeArguments(args: NonNullable<SeccompRule['args']>): Buffer {
  const size = 24;
  const buffer = Buffer.alloc(Math.max(args.length, 1) * size);
  for (const [at, { index, op, value, valueTwo = 0 }] of args.entries()) {
    const operator = operators[op];
    if (operator === undefined) throw new Error(`no operator ${op}`);
    buffer.writeUInt32LE(index, at * size);
    buffer.writeUInt32LE(operator, at * size + 4);
    buffer.writeBigUInt64LE(BigInt(value), at * size + 8);
    buffer.writeBigUInt64LE(BigInt(valueTwo), at * size + 16);
  }
  return buffer;
}

function actionOf(name: string, errno: number): number {
  const action = actions[name];
  if (action === undefined) throw new Error(`no action ${name}`);
  return name === 'SCMP_ACT_ERRNO' ? action | errno : action;
}

/** Bytes: BPF_MAXINSNS instructions. Source: linux/bpf_common.h */
const longestProgram = 4096 * 8;

/** A program ends with a return, which is not all zeros. */
function withoutTail(room: Buffer): Buffer {
  const isEmpty = (end: number): boolean => room.subarray(end - 8, end).every((byte) => byte === 0);
  let end = room.length;
  while (end > 0 && isEmpty(end)) end -= 8;
  return room.subarray(0, end);
}

function exported(calls: Libseccomp, filter: bigint, scratch: string): Buffer {
  const fd = openSync(scratch, 'w', 0o600);
  try {
    // libseccomp takes a write that a full disk cut short for a whole one: the room is taken before.
    const room = Buffer.alloc(longestProgram);
    if (writeSync(fd, room, 0, room.length, 0) < room.length) throw new Error(`${scratch}: no room`);
    const result = calls.exportBpf(filter, fd);
    if (result !== 0) throw new Error(`seccomp_export_bpf: ${result}`);
    return withoutTail(readFileSync(scratch));
  } finally {
    closeSync(fd);
    unlinkSync(scratch);
  }
}
