// Compares an unknown object with the schema of its kind: unknown fields, wrong types, missing and unlisted values.
// Assumes schema.generated.json (scripts/generate-schema.ts). Collects every fault, not only the first.
// O(fields given); a Pod takes some 20 µs.
import generated from './schema.generated.json' with { type: 'json' };
import { type FieldError, notSupported, required, typeInvalid } from './field-errors.ts';
import { isQuantity } from './quantity.ts';

interface GeneratedField {
  type: string;
  required?: boolean;
  enum?: string[];
}
const types = generated.types as unknown as Record<
  string,
  { group?: string; fields: Record<string, GeneratedField> }
>;

export interface SchemaField {
  /** `string`, `Container`, `[]Container`, `{}string` …; see scripts/generate-schema.ts. */
  readonly type: string;
  readonly required: boolean;
  readonly enum?: readonly string[];
}

/** The fields of a type by name; undefined for scalars and types we do not serve. */
export function fieldsOf(typeName: string): Readonly<Record<string, SchemaField>> | undefined {
  return Object.hasOwn(types, typeName)
    ? (types[typeName]!.fields as Record<string, SchemaField>)
    : undefined;
}

/** Where Kubernetes declares a type: '' is the core group, `meta` the machinery all kinds share. */
export const groupOfType = (typeName: string): string => types[typeName]?.group ?? '';

/**
 * Every fault of form of `value`, which claims to be a `typeName`; [] when there is none. A missing required field is
 * named and then set to its zero value in `value`, as Go's decoder does, so that validation can judge the rest; an unknown
 * one is named and taken out, for callers that let it pass. `path`: of the value in its object.
 */
export function checkSchema(typeName: string, value: unknown, path = ''): FieldError[] {
  const errors: FieldError[] = [];
  check(value, { type: typeName }, path, errors);
  return errors;
}

function zeroOf(type: string): unknown {
  if (type.startsWith('[]')) return [];
  if (type.startsWith('{}')) return {};
  const fields = types[type]?.fields;
  if (!fields) return type === 'integer' ? 0 : type === 'boolean' ? false : '';
  const needed = Object.entries(fields).filter(([, field]) => field.required);
  return Object.fromEntries(needed.map(([name, field]) => [name, zeroOf(field.type)]));
}

function check(value: unknown, field: GeneratedField, path: string, errors: FieldError[]): void {
  const { type } = field;
  const scalar = scalars[type];
  if (type.startsWith('[]')) checkList(value, field, path, errors);
  else if (type.startsWith('{}')) checkMap(value, field, path, errors);
  else if (scalar) {
    const fault = scalar(value);
    if (fault !== undefined) errors.push(typeInvalid(path, value, `${fault}${found(value)}`));
    // '' is Go's way to leave a text out; defaulting fills it in.
    else if (field.enum && value !== '' && !field.enum.includes(value as string))
      errors.push(
        notSupported(
          path,
          value,
          field.enum.filter((one) => one !== ''),
        ),
      );
  } else checkObject(value, type, path, errors);
}

function checkObject(value: unknown, type: string, path: string, errors: FieldError[]): void {
  const fields = types[type]!.fields;
  if (!isRecord(value)) {
    errors.push(typeInvalid(path, value, `must be an object (${type})${found(value)}`));
    return;
  }
  for (const name of Object.keys(value)) {
    const given = value[name];
    if (given === undefined || given === null) continue;
    const at = path === '' ? name : `${path}.${name}`;
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (field) check(given, field, at, errors);
    else {
      errors.push(unknownField(at, name, Object.keys(fields)));
      delete value[name];
    }
  }
  for (const name in fields) {
    if (fields[name]!.required && (value[name] === undefined || value[name] === null)) {
      errors.push(required(path === '' ? name : `${path}.${name}`));
      value[name] = zeroOf(fields[name]!.type);
    }
  }
}

function checkList(value: unknown, field: GeneratedField, path: string, errors: FieldError[]): void {
  if (!Array.isArray(value)) {
    errors.push(typeInvalid(path, value, `must be a list${found(value)}`));
    return;
  }
  const item = { ...field, type: field.type.slice(2) };
  value.forEach((one, at) => {
    check(one, item, `${path}[${at}]`, errors);
  });
}

function checkMap(value: unknown, field: GeneratedField, path: string, errors: FieldError[]): void {
  if (!isRecord(value)) {
    errors.push(typeInvalid(path, value, `must be a map${found(value)}`));
    return;
  }
  const item = { ...field, type: field.type.slice(2) };
  for (const key of Object.keys(value)) {
    const given = value[key];
    if (given !== undefined && given !== null) check(given, item, `${path}[${key}]`, errors);
  }
}

const rfc3339 =
  /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;
const time = (value: unknown): string | undefined =>
  typeof value === 'string' && rfc3339.test(value)
    ? undefined
    : 'must be a time like 2026-01-31T08:00:00Z (RFC 3339)';

/** Gives what the value must be, or undefined when it is. */
const scalars: Record<string, ((value: unknown) => string | undefined) | undefined> = {
  string: (value) => (typeof value === 'string' ? undefined : 'must be a string'),
  boolean: (value) => (typeof value === 'boolean' ? undefined : 'must be true or false'),
  integer: (value) => (Number.isSafeInteger(value) ? undefined : 'must be an integer'),
  Quantity: (value) => (isQuantity(value) ? undefined : 'must be a quantity such as 100m, 0.5 or 64Mi'),
  IntOrString: (value) =>
    typeof value === 'string' || Number.isSafeInteger(value) ? undefined : 'must be an integer or a string',
  Time: time,
  MicroTime: time,
  any: () => undefined,
};

function found(value: unknown): string {
  if (value === null) return ', not null';
  if (Array.isArray(value)) return ', not a list';
  const names: Record<string, string> = {
    object: 'an object',
    number: 'a number',
    string: 'a string',
    boolean: 'a boolean',
  };
  return `, not ${names[typeof value] ?? typeof value}`;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function unknownField(path: string, name: string, known: readonly string[]): FieldError {
  const near = nearest(name, known);
  const hint = near === undefined ? '' : `, did you mean ${JSON.stringify(near)}?`;
  return { reason: 'FieldUnknown', field: path, message: `unknown field ${JSON.stringify(path)}${hint}` };
}

/** The known word nearest to a mistyped one, when it is near enough to be meant. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const limit = Math.max(1, Math.min(3, Math.floor(word.length / 3)));
  let best: string | undefined;
  let least = limit + 1;
  for (const candidate of known) {
    const away = distance(word.toLowerCase(), candidate.toLowerCase());
    if (away < least) {
      least = away;
      best = candidate;
    }
  }
  return best;
}

/** Edits (insert, delete, replace, swap of neighbours) between two words; O(length²). */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 3 || a.length > 64) return Number.POSITIVE_INFINITY;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, beforeLast[j - 2]! + 1);
      row.push(least);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
