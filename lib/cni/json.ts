// Narrowing of JSON that others wrote: each reader takes an object and a key, and names both when the value is wrong.
// Assumes `where` is the path of the object in the document, e.g. `plugins[0].ipam`. Nothing past these sees raw JSON.
import { CniError, cniCodes } from './errors.ts';
import type { JsonObject } from './types.ts';

/** The error of a value that is not what it should be: code 7, the key, the value, what was expected. */
export function badValue(where: string, value: unknown, expected: string): CniError {
  return new CniError(
    cniCodes.CNI_INVALID_CONFIG,
    `${where}: expected ${expected}, got ${shown(value).slice(0, 200)}`,
  );
}

function shown(value: unknown): string {
  try {
    return JSON.stringify(value) ?? 'nothing';
  } catch {
    return 'what cannot be shown'; // nested deeper than the stack
  }
}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A reader over one object: every getter gives undefined where the key is absent or null. */
export class Fields {
  readonly object: JsonObject;
  readonly #where: string;
  constructor(value: unknown, where: string) {
    if (!isObject(value)) throw badValue(where || 'configuration', value, 'a JSON object');
    this.object = value;
    this.#where = where;
  }

  path(key: string): string {
    return this.#where === '' ? key : `${this.#where}.${key}`;
  }

  /** The error of this key's value. */
  bad(key: string, expected: string): CniError {
    return badValue(this.path(key), this.object[key], expected);
  }

  #get<T>(key: string, ok: (value: unknown) => value is T, expected: string): T | undefined {
    const value = this.object[key];
    if (value === undefined || value === null) return undefined;
    if (!ok(value)) throw this.bad(key, expected);
    return value;
  }

  string(key: string): string | undefined {
    return this.#get(key, (value) => typeof value === 'string', 'a string');
  }

  boolean(key: string): boolean | undefined {
    return this.#get(key, (value) => typeof value === 'boolean', 'true or false');
  }

  /** A whole number within the bounds, ends included. */
  integer(key: string, bounds: { min: number; max: number }): number | undefined {
    const { min, max } = bounds;
    const ok = (value: unknown): value is number =>
      typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
    return this.#get(key, ok, `a whole number from ${min} to ${max}`);
  }

  /** A nested object; an empty one where it is absent. */
  fields(key: string): Fields {
    return new Fields(this.object[key] ?? {}, this.path(key));
  }

  array(key: string): unknown[] {
    return this.#get(key, (value) => Array.isArray(value), 'an array') ?? [];
  }

  strings(key: string): string[] {
    const items = this.array(key);
    for (const [at, item] of items.entries())
      if (typeof item !== 'string') throw badValue(`${this.path(key)}[${at}]`, item, 'a string');
    return items as string[];
  }

  /** Objects of an array, each with its path. */
  objects(key: string): Fields[] {
    return this.array(key).map((item, at) => new Fields(item, `${this.path(key)}[${at}]`));
  }
}
