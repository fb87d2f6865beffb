// ConfigMaps and Secrets on the command line: where keys come from, and that values of Secrets are never shown.
import { join } from 'node:path';
import t from 'tap';
import { describeConfigMap, describeSecret } from '../../../cmd/podwire/print/describe-data.ts';
import { dataOf } from '../../../cmd/podwire/verbs/create-data.ts';
import type { ConfigMap, Secret } from '../../../lib/api/types.ts';

t.test('keys from literals, files and folders', async (t) => {
  const dir = t.testdir({ page: 'p', more: { a: '1', b: '2', sub: { c: '3' } } });
  const shown = (options: Parameters<typeof dataOf>[0]) =>
    Object.fromEntries([...dataOf(options)].map(([key, bytes]) => [key, bytes.toString()]));
  t.strictSame(shown({ fromLiteral: ['a=b=c', 'empty='] }), { a: 'b=c', empty: '' });
  t.strictSame(shown({ fromFile: [join(dir, 'page'), `k=${join(dir, 'page')}`] }), { page: 'p', k: 'p' });
  t.strictSame(shown({ fromFile: [join(dir, 'more')] }), { a: '1', b: '2' });
  const bad: [Parameters<typeof dataOf>[0], RegExp][] = [
    [{ fromLiteral: ['novalue'] }, /--from-literal: expected KEY=VALUE/],
    [{ fromLiteral: ['=x'] }, /--from-literal/],
    [{ fromLiteral: ['a=1', 'a=2'] }, /"a": it is given twice/],
    [{ fromFile: [join(dir, 'none')] }, /does not exist/],
    [{ fromFile: ['=x'] }, /expected FILE/],
    [{ fromFile: [`k=${join(dir, 'more')}`] }, /a folder cannot have one key/],
  ];
  for (const [options, says] of bad) t.throws(() => dataOf(options), { code: 'USAGE', message: says });
});

const meta = {
  name: 'x',
  namespace: 'default',
  annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{"data":{"p":"aGlkZGVu"}}' },
};

t.test('describe', async (t) => {
  const secret = { metadata: meta, type: 'Opaque', data: { p: 'aGlkZGVu' } } as unknown as Secret;
  const text = describeSecret(secret);
  t.match(text, /Name: +x\n/);
  t.match(text, /p: {2}6 bytes/);
  t.notMatch(text, /hidden|aGlkZGVu/);
  const map = { metadata: meta, data: { a: 'one\ntwo' }, binaryData: { b: 'AAE=' } } as unknown as ConfigMap;
  t.match(describeConfigMap(map), /\na:\n----\none\ntwo\n/);
  t.match(describeConfigMap(map), /\nb: 2 bytes\n/);
});
