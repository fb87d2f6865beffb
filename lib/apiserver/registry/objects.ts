// Small work on object trees: private copies, freezing, names and times that the registry hands out.
// Assumes JSON values. O(fields).
import { randomInt, randomUUID } from 'node:crypto';
import { ApiError } from '../../api/errors.ts';

type Json = Record<string, unknown>;

/** A copy one may change, without what is null or undefined: both say that a field was left out. */
export function copyJson<T>(value: T): T {
  if (Array.isArray(value)) return value.map(copyJson) as T;
  if (typeof value !== 'object' || value === null) return value;
  const copy: Json = {};
  for (const key of Object.keys(value)) {
    if (key === '__proto__') throw new ApiError('BadRequest', 'an object must not have a field __proto__');
    const inner = (value as Json)[key];
    if (inner !== null && inner !== undefined) copy[key] = copyJson(inner);
  }
  return copy as T;
}

/** Freezes the whole tree: objects of the registry are shared by all who ask. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const key in value) deepFreeze(value[key]);
  return Object.freeze(value);
}

/** Without vowels and look-alikes, as Kubernetes: no words come about by chance. */
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
const maxGeneratedBase = 63 - 5;

/** `web-` → `web-x7k2p`. */
export function generateName(base: string): string {
  const suffix = Array.from({ length: 5 }, () => alphabet[randomInt(alphabet.length)]).join('');
  return `${base.slice(0, maxGeneratedBase)}${suffix}`;
}

export const newUid = (): string => randomUUID();
