// Objects as Go clients send them. protobuf.golden.json: objects filled at random, written by Kubernetes' own serializers
// (k8s.io/api v0.36.0) as JSON and as protobuf in base64.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { ApiError } from '../../../lib/api/errors.ts';
import { decodeProtobuf } from '../../../lib/api/protobuf.ts';
import numbers from '../../../lib/api/protobuf.generated.json' with { type: 'json' };
import schema from '../../../lib/api/schema.generated.json' with { type: 'json' };
import { checkSchema } from '../../../lib/api/schema.ts';

interface Golden {
  readonly json: { readonly kind: string };
  readonly protobuf: string;
}
const golden: readonly Golden[] = JSON.parse(
  readFileSync(new URL('protobuf.golden.json', import.meta.url), 'utf8'),
);
const bytesOf = ({ protobuf }: Golden): Buffer => Buffer.from(protobuf, 'base64');

/** Go writes a time that is not there as null. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([, inner]) => inner !== null);
  return Object.fromEntries(kept.map(([key, inner]) => [key, withoutNulls(inner)]));
}

t.test("what Go's JSON says", async (t) => {
  t.ok(golden.length >= 15);
  for (const one of golden) t.strictSame(decodeProtobuf(bytesOf(one)), withoutNulls(one.json), one.json.kind);
});

t.test('what is no such message is refused, whatever it is', async (t) => {
  const secret = golden.findLast(({ json }) => json.kind === 'Secret')!;
  const whole = bytesOf(secret);
  const field = (number: number, value: Buffer): Buffer =>
    Buffer.concat([Buffer.from([(number << 3) | 2, value.length]), value]);
  const body = (kind: string, raw: Buffer): Buffer =>
    Buffer.concat([
      Buffer.from('k8s\0'),
      field(1, Buffer.concat([field(1, Buffer.from('v1')), field(2, Buffer.from(kind))])),
      field(2, raw),
    ]);
  const cases: [string, Buffer, RegExp][] = [
    ['no magic', Buffer.from('{}'), /does not begin with k8s/],
    ['a kind of Object', body('constructor', Buffer.alloc(0)), /kind "constructor" is not known/],
    ['a part of Volume', body('VolumeSource', Buffer.alloc(0)), /kind "VolumeSource" is not known/],
    ['a field of tomorrow', body('Secret', field(9, Buffer.from('x'))), /number 9 of Secret is not known/],
    ['a number for a text', body('Secret', Buffer.from([3 << 3, 1])), /number stands where/],
    ['a text for a number', body('Secret', field(5, Buffer.from('x'))), /text or message stands where/],
    ['a number without end', body('Secret', Buffer.alloc(12, 0xff)), /a number has no end/],
    ['groups', body('Secret', Buffer.from([(1 << 3) | 3])), /wire type 3/],
    [
      'compressed',
      Buffer.concat([body('Secret', Buffer.alloc(0)), field(3, Buffer.from('gzip'))]),
      /encodings/,
    ],
  ];
  for (const [name, given, says] of cases)
    t.throws(() => decodeProtobuf(given), { code: 'BadRequest', message: says }, name);
  t.strictSame(
    decodeProtobuf(body('Secret', field(9, Buffer.alloc(0)))),
    { apiVersion: 'v1', kind: 'Secret' },
    'a field of tomorrow that says nothing',
  );
  const map = field(2, Buffer.concat([field(1, Buffer.from('__proto__')), field(2, Buffer.from('x'))]));
  t.strictSame(Object.keys(decodeProtobuf(body('Secret', map)).data as object), ['__proto__']);
  const others: unknown[] = [];
  for (let at = 0; at < whole.length; at++) {
    const changed = Buffer.from(whole);
    changed[at] = changed[at]! ^ (1 << (at % 8));
    for (const given of [whole.subarray(0, at), changed])
      try {
        decodeProtobuf(given);
      } catch (error) {
        if (!(error instanceof ApiError)) others.push(error);
      }
  }
  t.strictSame(others, [], 'cut off anywhere, or with any bit wrong: never another failure');
});

t.test('every field that the schema has, has a number', async (t) => {
  const table = numbers as Record<string, Record<string, string>>;
  const namesOf = (type: string): string[] =>
    Object.values(table[type] ?? {}).flatMap((field) =>
      field.startsWith('~') ? namesOf(field.slice(1)) : [field.replace(/[!#]$/, '')],
    );
  const missing = Object.entries(schema.types).flatMap(([type, { fields }]) => {
    const told = new Set([...namesOf(type), 'apiVersion', 'kind']);
    return Object.keys(fields).flatMap((field) => (told.has(field) ? [] : [`${type}.${field}`]));
  });
  t.strictSame(missing, [], 'else see scripts/generate-protobuf.ts');
});

t.test('what was read passes the schema', async (t) => {
  const node = golden.findLast(({ json }) => json.kind === 'Node')!;
  const unknown = checkSchema('Node', decodeProtobuf(bytesOf(node))).filter(
    ({ reason }) => reason === 'FieldUnknown' || reason === 'FieldValueTypeInvalid',
  );
  t.strictSame(unknown, []);
});
