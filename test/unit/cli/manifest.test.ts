import t from 'tap';
import { parseManifests, readSources } from '../../../cmd/podwire/manifest.ts';

const parse = (text: string) => parseManifests({ name: 'x.yaml', text });
const pod = (name: string) => `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\n`;

t.test('several documents, empty ones skipped, in order', async (t) => {
  const entries = parse(`---\n${pod('a')}---\n# only a comment\n---\n${pod('b')}...\n`);
  t.same(
    entries.map((entry) =>
      'manifest' in entry ? [entry.where, entry.manifest.metadata.name] : entry.error.message,
    ),
    [
      ['x.yaml (document 1)', 'a'],
      ['x.yaml (document 2)', 'b'],
    ],
  );
});

t.test('JSON, and a List is its items', async (t) => {
  const item = (name: string) => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name } });
  const entries = parse(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [item('a'), item('b')] }));
  t.same(
    entries.map((entry) => [entry.where, 'manifest' in entry && entry.manifest.metadata.name]),
    [
      ['x.yaml (document 1), item 1', 'a'],
      ['x.yaml (document 1), item 2', 'b'],
    ],
  );
});

t.test('numbers and booleans are read as Kubernetes reads them', async (t) => {
  const [entry] = parse(
    `${pod('a')}v: [0644, 420, 0o17, yes, No, on, off, "yes", y, 1:30, ~, 1e3, 0x10, 08]\n`,
  );
  t.ok(entry && 'manifest' in entry);
  if (entry && 'manifest' in entry)
    t.same(entry.manifest.v, [420, 420, 15, true, false, true, false, 'yes', 'y', '1:30', null, 1000, 16, 8]);
});

t.test('anchors and merge keys', async (t) => {
  const [entry] = parse(`${pod('a')}base: &b {x: 1}\nmore: {<<: *b, y: 2}\n`);
  t.ok(entry && 'manifest' in entry);
  if (entry && 'manifest' in entry) t.same(entry.manifest.more, { x: 1, y: 2 });
});

const bad: ReadonlyArray<{ name: string; text: string; message: RegExp }> = [
  {
    name: 'no YAML',
    text: 'a: [1,\nb: 2\n',
    message: /^error parsing x\.yaml \(document 1\): line 2, column 1: /,
  },
  { name: 'a tab', text: 'a:\n\tb: 1\n', message: /line 2, column 1: .*[Tt]ab/ },
  {
    name: 'a key twice',
    text: `${pod('a')}kind: Pod\n`,
    message: /line 5, column 1: Map keys must be unique/,
  },
  {
    name: 'no object',
    text: 'hello\n',
    message: /x\.yaml \(document 1\): expected an object .*, found "hello" \(a string\)/,
  },
  { name: 'a list', text: '- a\n', message: /found a list/ },
  { name: 'no kind', text: 'apiVersion: v1\nmetadata: {name: a}\n', message: /kind is missing/ },
  { name: 'no apiVersion', text: 'kind: Pod\nmetadata: {name: a}\n', message: /apiVersion is missing/ },
  {
    name: 'kind of a wrong type',
    text: 'apiVersion: v1\nkind: 3\n',
    message: /kind: expected a string, found 3 \(a number\)/,
  },
  {
    name: 'no name',
    text: 'apiVersion: v1\nkind: Pod\nmetadata: {}\n',
    message: /metadata\.name is missing/,
  },
  { name: 'empty', text: '# nothing\n', message: /no objects found in x\.yaml/ },
  { name: 'an alias bomb', text: bomb(), message: /alias/i },
];
for (const c of bad)
  t.test(`refused: ${c.name}`, async (t) => {
    const [entry] = parse(c.text);
    t.ok(entry && 'error' in entry, 'is an error');
    if (entry && 'error' in entry) t.match(entry.error.message, c.message);
  });

function bomb(): string {
  const rows = ['a: &a [x,x,x,x,x,x,x,x,x,x]'];
  for (const [at, name] of [...'bcdefgh'].entries()) {
    const before = 'abcdefgh'[at];
    rows.push(`${name}: &${name} [${Array(10).fill(`*${before}`).join(',')}]`);
  }
  return `${rows.join('\n')}\n`;
}

t.test('a bad document leaves the others', async (t) => {
  const entries = parse(`${pod('a')}---\nkind: Pod\n---\n${pod('c')}`);
  t.same(
    entries.map((entry) => 'error' in entry),
    [false, true, false],
  );
});

t.test('folders: *.yaml, *.yml, *.json, sorted; deeper only with recursive', async (t) => {
  const folder = t.testdir({
    'b.yml': 'b',
    'a.yaml': 'a',
    'c.json': 'c',
    'notes.txt': 'no',
    deep: { 'd.yaml': 'd' },
  });
  t.same(
    readSources([folder]).map((source) => source.text),
    ['a', 'b', 'c'],
  );
  t.same(
    readSources([folder], { recursive: true }).map((source) => source.text),
    ['a', 'b', 'c', 'd'],
  );
  t.throws(() => readSources([`${folder}/none.yaml`]), {
    code: 'USAGE',
    message: /the path ".*none\.yaml" does not exist/,
  });
  t.throws(() => readSources(['https://x/y.yaml']), { code: 'USAGE' });
});
