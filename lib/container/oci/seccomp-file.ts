// A seccomp profile from the node's folder, in the words of the OCI runtime specification.
// Assumes a path that was validated. What is read must be understood whole: a condition that the runtime would not
// know (Docker's includes, excludes, archMap) would silently make the profile weaker. One small file a container.
import { readFileSync } from 'node:fs';
import type { SeccompProfile, SeccompRule } from './seccomp.ts';

/** @throws RangeError naming the file and what is wrong with it */
export function readSeccompFile(path: string): SeccompProfile {
  try {
    return parseSeccomp(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    throw new RangeError(`cannot load seccomp profile "${path}": ${(error as Error).message}`);
  }
}

/** Pure. @throws RangeError */
export function parseSeccomp(value: unknown): SeccompProfile {
  const profile = only(value, 'profile', [
    ...['defaultAction', 'defaultErrnoRet', 'architectures', 'syscalls', 'flags', 'comment'],
  ]);
  const { defaultErrnoRet, architectures = [], syscalls = [], flags = [] } = profile;
  return {
    defaultAction: action(profile.defaultAction, 'defaultAction'),
    ...(defaultErrnoRet === undefined ? {} : { defaultErrnoRet: whole(defaultErrnoRet, 'defaultErrnoRet') }),
    architectures: texts(architectures, 'architectures'),
    ...(texts(flags, 'flags').length > 0 ? { flags: texts(flags, 'flags') } : {}),
    syscalls: list(syscalls, 'syscalls').map((rule, at) => parseRule(rule, `syscalls[${at}]`)),
  };
}

function parseRule(value: unknown, path: string): SeccompRule {
  const rule = only(value, path, ['names', 'action', 'errnoRet', 'args', 'comment']);
  const names = texts(rule.names, `${path}.names`);
  if (names.length === 0) throw new RangeError(`${path}.names: expected names of system calls`);
  return {
    names,
    action: action(rule.action, `${path}.action`),
    ...(rule.errnoRet === undefined ? {} : { errnoRet: whole(rule.errnoRet, `${path}.errnoRet`) }),
    ...(rule.args
      ? { args: list(rule.args, `${path}.args`).map((arg, at) => parseArg(arg, `${path}.args[${at}]`)) }
      : {}),
  };
}

function parseArg(value: unknown, path: string): NonNullable<SeccompRule['args']>[number] {
  const arg = only(value, path, ['index', 'value', 'valueTwo', 'op']);
  if (typeof arg.op !== 'string' || !/^SCMP_CMP_[A-Z_]+$/.test(arg.op))
    throw new RangeError(`${path}.op: expected SCMP_CMP_EQ and the like`);
  return {
    index: whole(arg.index, `${path}.index`),
    value: whole(arg.value, `${path}.value`),
    ...(arg.valueTwo === undefined ? {} : { valueTwo: whole(arg.valueTwo, `${path}.valueTwo`) }),
    op: arg.op,
  };
}

function only(value: unknown, path: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new RangeError(`${path}: expected an object`);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined)
    throw new RangeError(
      `${path}: ${JSON.stringify(unknown)} is not of the OCI runtime specification (known: ${known.join(', ')})`,
    );
  return value as Record<string, unknown>;
}

function action(value: unknown, path: string): string {
  if (typeof value === 'string' && /^SCMP_ACT_[A-Z_]+$/.test(value)) return value;
  throw new RangeError(`${path}: expected SCMP_ACT_ALLOW, SCMP_ACT_ERRNO and the like`);
}

function whole(value: unknown, path: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw new RangeError(`${path}: expected a whole number`);
}

function list(value: unknown, path: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new RangeError(`${path}: expected a list`);
}

function texts(value: unknown, path: string): string[] {
  const all = list(value ?? [], path);
  if (all.every((one) => typeof one === 'string')) return all as string[];
  throw new RangeError(`${path}: expected a list of names`);
}
