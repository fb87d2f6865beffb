// Reads the objects that clients written in Go send as protobuf (kubectl create, drain): what JSON.parse gives of the same in JSON.
// Assumes protobuf.generated.json (numbers of fields) and the schema (their types). Answers stay JSON, which these clients
// take as well. O(bytes). Source: k8s.io/apimachinery/pkg/runtime/serializer/protobuf; protobuf.dev, Encoding.
import { ApiError } from './errors.ts';
import generated from './protobuf.generated.json' with { type: 'json' };
import { fieldsOf, type SchemaField } from './schema.ts';
import { timestamp } from './time.ts';

/** See scripts/generate-protobuf.ts for the marks. */
const numbersOf = generated as unknown as Readonly<Record<string, Readonly<Record<string, string>>>>;

type Json = Record<string, unknown>;
/** A number of a varint field, the bytes of any other. */
type Value = bigint | Buffer;

const magic = Buffer.from('k8s\0');
const bad = (why: string): ApiError =>
  new ApiError('BadRequest', `the body is not protobuf as Kubernetes sends it: ${why}`);

/** @throws ApiError BadRequest; also for a field that this version has no name for, unless it says nothing. */
export function decodeProtobuf(body: Buffer): Json {
  if (!body.subarray(0, magic.length).equals(magic)) throw bad('it does not begin with k8s');
  let raw: Buffer = Buffer.alloc(0);
  let told: Json = {};
  for (const [number, value] of fieldsIn(body.subarray(magic.length))) {
    if (number === 1) told = textsIn(bytesOf(value), ['apiVersion', 'kind']);
    else if (number === 2) raw = bytesOf(value);
    else if (bytesOf(value).length > 0) throw bad('encodings within it are not supported');
  }
  const { kind } = told as { kind?: string };
  if (kind === undefined || !Object.hasOwn(numbersOf, kind) || !fieldsOf(kind))
    throw bad(`kind ${JSON.stringify(kind)} is not known`);
  return { ...told, ...message(kind, raw) };
}

/** The fields of a message in their order, each with its number. */
function* fieldsIn(bytes: Buffer): Generator<[number, Value]> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw bad('it is cut off');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
    throw bad('a number has no end');
  };
  const take = (length: number): Buffer => {
    if (length < 0 || length > bytes.length - at) throw bad('it is cut off');
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const wire = tag & 7;
    if (wire === 0) yield [tag >>> 3, varint()];
    else if (wire === 2) yield [tag >>> 3, take(Number(varint()))];
    else if (wire === 1 || wire === 5) yield [tag >>> 3, take(wire === 1 ? 8 : 4)];
    else throw bad(`wire type ${wire}`);
  }
}

function bytesOf(value: Value): Buffer {
  if (typeof value === 'bigint') throw bad('a number stands where a text or message was expected');
  return value;
}
function numberOf(value: Value): number {
  if (typeof value !== 'bigint') throw bad('a text or message stands where a number was expected');
  return Number(value);
}

/** A message of nothing but texts, numbered from 1. */
function textsIn(bytes: Buffer, names: readonly string[]): Json {
  const texts: Json = {};
  for (const [number, value] of fieldsIn(bytes)) {
    const name = names[number - 1];
    if (name !== undefined) texts[name] = bytesOf(value).toString();
  }
  return texts;
}

function message(type: string, bytes: Buffer): Json {
  const target: Json = {};
  fill({ target, type, fields: fieldsOf(type)! }, bytes);
  return target;
}

interface Filling {
  readonly target: Json;
  /** Whose numbers they are; `fields` are those of the type that the target is. */
  readonly type: string;
  readonly fields: Readonly<Record<string, SchemaField>>;
}

function fill({ target, type, fields }: Filling, bytes: Buffer): void {
  const names = numbersOf[type]!;
  for (const [number, value] of fieldsIn(bytes)) {
    const written = names[number];
    if (written?.startsWith('~')) {
      fill({ target, type: written.slice(1), fields }, bytesOf(value));
      continue;
    }
    const name = written?.replace(/[!#]$/, '') ?? '';
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (!field) {
      if (saysNothing(value)) continue; // Go sends the zero of every field that is no pointer
      throw bad(`field ${name || `number ${number}`} of ${type} is not known`);
    }
    add(target, name, { type: field.type, value, isBytes: written!.endsWith('#') });
    const isMeant = written!.endsWith('!') && target[name] !== undefined;
    if (!isMeant && isZero(target[name])) delete target[name];
  }
}

const saysNothing = (value: Value): boolean =>
  typeof value === 'bigint' ? value === 0n : value.length === 0;
const isZero = (value: unknown): boolean =>
  value === '' || value === 0 || value === false || value === undefined;

interface Part {
  readonly type: string;
  readonly value: Value;
  readonly isBytes: boolean;
}

/** A list and a map come an item at a time; of anything else the last counts. */
function add(target: Json, name: string, part: Part): void {
  const { type } = part;
  if (type.startsWith('[]')) {
    target[name] ??= [];
    (target[name] as unknown[]).push(single({ ...part, type: type.slice(2) }));
  } else if (type.startsWith('{}')) {
    target[name] ??= {};
    const { key, value } = entryOf({ ...part, type: type.slice(2) });
    // As JSON.parse does: a key that means something to JavaScript is a key like any other.
    Object.defineProperty(target[name], key, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  } else target[name] = single(part);
}

function entryOf(part: Part): { key: string; value: unknown } {
  let key = '';
  let value: Value | undefined;
  for (const [number, given] of fieldsIn(bytesOf(part.value)))
    if (number === 1) key = bytesOf(given).toString();
    else if (number === 2) value = given;
  return { key, value: single({ ...part, value: value ?? Buffer.alloc(0) }) };
}

function single({ type, value, isBytes }: Part): unknown {
  switch (type) {
    case 'string':
      return bytesOf(value).toString(isBytes ? 'base64' : 'utf8');
    case 'integer':
      return numberOf(value);
    case 'boolean':
      return numberOf(value) !== 0;
    case 'Quantity':
      return textsIn(bytesOf(value), ['text']).text ?? '';
    case 'IntOrString':
      return intOrString(bytesOf(value));
    case 'Time':
    case 'MicroTime':
      return timeOf(bytesOf(value), type);
    case 'any': // managed fields, which are not kept
      return undefined;
    default:
      if (!fieldsOf(type)) throw bad(`${type} cannot be read`);
      return message(type, bytesOf(value));
  }
}

function intOrString(bytes: Buffer): number | string {
  const parts = new Map(fieldsIn(bytes));
  const isText = numberOf(parts.get(1) ?? 0n) === 1;
  return isText ? bytesOf(parts.get(3) ?? Buffer.alloc(0)).toString() : numberOf(parts.get(2) ?? 0n);
}

/** Go's zero time is sent as a message of nothing. */
function timeOf(bytes: Buffer, type: string): string | undefined {
  if (bytes.length === 0) return undefined;
  const parts = new Map(fieldsIn(bytes));
  const [seconds, nanos] = [numberOf(parts.get(1) ?? 0n), numberOf(parts.get(2) ?? 0n)];
  // Years of four digits, as RFC 3339 has them.
  if (seconds < -62_167_219_200 || seconds > 253_402_300_799 || nanos < 0 || nanos > 999_999_999)
    throw bad('a time is out of range');
  const whole = timestamp(seconds * 1000);
  if (type === 'Time') return whole;
  return whole.replace('Z', `.${String(Math.floor(nanos / 1000)).padStart(6, '0')}Z`);
}
