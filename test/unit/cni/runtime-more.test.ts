// lib/cni beyond the plain way: tracing, versions, validation, cancellation, exclusion with real plugin runs, the folder's
// order, and caches that are of no use. Plugins are small scripts that write down how they were called.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { listAttachments, loadAttachment, saveAttachment } from '../../../lib/cni/cache.ts';
import { loadFile, loadNetwork, parseList, pluginInput } from '../../../lib/cni/conf.ts';
import { Cni, type CniOptions } from '../../../lib/cni/runtime.ts';
import { until } from '../../until.ts';

const script = `#!/bin/sh
conf=$(cat); here=\${0%/*}
echo "+$CNI_COMMAND $CNI_CONTAINERID" >> "$here/order"
echo "$CNI_COMMAND \${TRACEPARENT:-none} \${TRACESTATE:-none} \${EXTRA:-none}|$conf" >> "$here/calls"
case "$conf" in *'"sleep":"'$CNI_COMMAND'"'*) sleep 0.2;; *'"hang":"'$CNI_COMMAND'"'*) exec sleep 60;; esac
case "$CNI_COMMAND $conf" in ADD*'"meets":"c2"'*) until grep -q '^+ADD c2' "$here/order"; do sleep 0.01; done;; esac
case "$conf" in *'"log":true'*) echo "a word about $CNI_COMMAND" >&2;; esac
echo "-$CNI_COMMAND $CNI_CONTAINERID" >> "$here/order"
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0"]}';;
ADD) case "$conf" in *'"mute":true'*) ;; *) echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}';; esac;;
esac
`;

function lab(dir: string, options: Partial<CniOptions> = {}) {
  writeFileSync(join(dir, 'fake'), script);
  chmodSync(join(dir, 'fake'), 0o755);
  const lines = (name: string): string[] =>
    existsSync(join(dir, name)) ? readFileSync(join(dir, name), 'utf8').trim().split('\n') : [];
  const cacheDir = join(dir, 'cache');
  return { cni: new Cni({ pluginDirs: [dir], cacheDir, ...options }), cacheDir, lines };
}
const listOf = (plugin: object = {}, more: object = {}) =>
  parseList({ cniVersion: '1.0.0', name: 'net', ...more, plugins: [{ type: 'fake', ...plugin }] });
const who = { containerId: 'c1', ifname: 'eth0', netns: '/run/netns/c1' };

t.test('TRACEPARENT of this process, of the object, of the call', async (t) => {
  const dir = t.testdir();
  t.teardown(() => delete process.env.TRACEPARENT);
  process.env.TRACEPARENT = '00-of-the-process';
  const { cni, lines } = lab(dir, { env: { EXTRA: 'of-the-object' } });
  await cni.addNetworkList(listOf(), who);
  await cni.addNetworkList(listOf(), {
    ...who,
    containerId: 'c2',
    env: { TRACEPARENT: '00-own', TRACESTATE: 'x=1' },
  });
  await cni.getStatus(listOf({}, { cniVersion: '1.1.0' }), { env: { TRACEPARENT: '00-status' } });
  await cni.gcNetworkList(listOf({}, { cniVersion: '1.1.0' }), [], { env: { EXTRA: 'gc' } });
  t.strictSame(
    lines('calls').map((line) => line.split('|')[0]),
    [
      'ADD 00-of-the-process none of-the-object',
      'ADD 00-own x=1 of-the-object',
      'STATUS 00-status none of-the-object',
      'DEL 00-of-the-process none gc',
      'DEL 00-of-the-process none gc',
      'GC 00-of-the-process none gc',
    ],
  );
});

t.test('standard error of a plugin that succeeds', async (t) => {
  const said: string[] = [];
  const { cni } = lab(t.testdir(), {
    onStderr: (text, { type, command }) => said.push(`${type} ${command}: ${text.trim()}`),
  });
  await cni.addNetworkList(listOf({ log: true }), who);
  t.strictSame(said, ['fake ADD: a word about ADD']);
});

t.test('validation asks each plugin for its versions', async (t) => {
  const { cni } = lab(t.testdir());
  t.strictSame(await cni.getVersionInfo('fake'), {
    cniVersion: '1.1.0',
    supportedVersions: ['0.4.0', '1.0.0'],
  });
  const list = listOf({ capabilities: { portMappings: true, mac: false } });
  t.strictSame(await cni.validateNetworkList(list), ['portMappings']);
  await t.rejects(cni.validateNetworkList(listOf({}, { cniVersion: '1.1.0' })), {
    cniCode: 1,
    message: /fake does not speak 1\.1\.0: it speaks 0\.4\.0, 1\.0\.0/,
  });
  await t.rejects(cni.validateNetworkList(listOf({ type: 'absent' })), { cniCode: 7, message: /"absent"/ });
});

t.test('an ADD that ends well without a result is none, and is undone', async (t) => {
  const { cni, lines, cacheDir } = lab(t.testdir());
  await t.rejects(cni.addNetworkList(listOf({ mute: true }), who), {
    cniCode: 6,
    message: /without a result/,
  });
  t.strictSame(
    lines('order').filter((line) => line.startsWith('+')),
    ['+ADD c1', '+DEL c1'],
  );
  t.strictSame(readdirSync(join(cacheDir, 'results')), []);
});

t.test('cancellation', async (t) => {
  const { cni, lines } = lab(t.testdir());
  await t.rejects(cni.addNetworkList(listOf(), { ...who, signal: AbortSignal.abort() }), {
    cniCode: 11,
    message: /cancelled/,
  });
  t.strictSame(lines('order'), [], 'nothing ran, so nothing is undone');
  const stop = new AbortController();
  const hanging = cni.addNetworkList(listOf({ hang: 'ADD' }), { ...who, signal: stop.signal });
  const ended = t.rejects(hanging, { message: /aborted/ });
  t.ok(await until(() => lines('order').at(-1) === '+ADD c1'));
  stop.abort();
  await ended;
  t.strictSame(lines('order').at(-1), '-DEL c1', 'the undo runs though the caller has gone');
  await t.rejects(
    cni.gcNetworkList(listOf({}, { cniVersion: '1.1.0' }), [], { signal: AbortSignal.abort() }),
  );
});

t.test('one operation a container, others side by side, GC alone', async (t) => {
  const { cni, lines } = lab(t.testdir());
  const list = listOf({ sleep: 'ADD', meets: 'c2' }, { cniVersion: '1.1.0' });
  const add = cni.addNetworkList(list, who);
  const del = cni.delNetworkList(list, who);
  const other = cni.addNetworkList(list, { ...who, containerId: 'c2' });
  const gc = cni.gcNetworkList(list, [{ containerId: 'c2', ifname: 'eth0' }]);
  const late = cni.addNetworkList(list, { ...who, containerId: 'c3' });
  await Promise.all([add, del, other, gc, late]);
  const order = lines('order');
  const at = (line: string): number => order.indexOf(line);
  t.ok(at('-ADD c1') < at('+DEL c1'), 'the same container waits');
  t.ok(at('+ADD c2') < at('-ADD c1'), 'another does not');
  t.ok(at('-ADD c2') < at('+GC ') && at('-DEL c1') < at('+GC '), 'GC waits for all');
  t.ok(at('-GC ') < at('+ADD c3'), 'and all that comes later waits for it');
});

t.test('what a plugin gets', async (t) => {
  const list = listOf({
    capabilities: { portMappings: true, mac: false },
    prevResult: { cniVersion: '1.0.0' },
    'cni.dev/valid-attachments': 'of the file',
    unknown: { kept: [1] },
  });
  const [plugin] = list.plugins;
  const input = pluginInput(list, plugin!, {
    capabilityArgs: { portMappings: [1], mac: '02:00:00:00:00:01' },
  });
  t.strictSame(input, {
    type: 'fake',
    name: 'net',
    cniVersion: '1.0.0',
    unknown: { kept: [1] },
    runtimeConfig: { portMappings: [1] },
  });
});

t.test('prevResult for DEL came with 0.4.0', async (t) => {
  for (const [cniVersion, expected] of [
    ['0.3.1', false],
    ['0.4.0', true],
  ] as const) {
    const { cni, lines } = lab(t.testdir());
    const list = listOf({}, { cniVersion });
    await cni.addNetworkList(list, who);
    await cni.delNetworkList(list, who);
    t.equal(lines('calls').at(-1)?.includes('prevResult'), expected, cniVersion);
  }
});

t.test('a folder: conflists before single configurations, bad files hide only themselves', async (t) => {
  const conf = (name: string, more: object = {}) =>
    JSON.stringify({ cniVersion: '1.0.0', name, type: 'fake', ...more });
  const dir = t.testdir({
    '00-bad.conflist': '{',
    '10-a.conf': conf('a', { from: 'conf' }),
    '20-a.conflist': JSON.stringify({
      cniVersion: '1.0.0',
      name: 'a',
      plugins: [{ type: 'fake', from: 'list' }],
    }),
    '30-b.json': conf('b'),
  });
  t.equal(loadNetwork(dir, 'a').plugins[0]?.json.from, 'list');
  t.equal(loadNetwork(dir, 'b').plugins.length, 1);
  t.throws(() => loadNetwork(dir, 'c'), { message: /00-bad\.conflist: not JSON/ });
  t.throws(() => loadNetwork(join(dir, 'none'), 'c'), {
    cniCode: 7,
    message: /no net configuration with name "c"/,
  });
});

const folders: Array<[string, object, string[] | RegExp]> = [
  ['inlined and beside', { plugins: [{ type: 'one' }] }, ['one', 'two']],
  ['inlined only', { plugins: [{ type: 'one' }], loadOnlyInlinedPlugins: true }, ['one']],
  [
    'inlined only, as an old list says it',
    { plugins: [{ type: 'one' }], loadOnlyInlinedPlugins: 'TRUE' },
    ['one'],
  ],
  ['beside only', {}, ['two']],
  ['nothing', { loadOnlyInlinedPlugins: true }, /plugins: expected a list, because loadOnlyInlinedPlugins/],
];
for (const [name, list, expected] of folders)
  t.test(`plugins of a list: ${name}`, async (t) => {
    const dir = t.testdir({
      'x.conflist': JSON.stringify({ cniVersion: '1.1.0', name: 'net', ...list }),
      net: { '10.conf': '{"type":"two"}', 'ignored.json': '{"type":"three"}' },
    });
    const load = () => loadFile(join(dir, 'x.conflist')).plugins.map(({ type }) => type);
    if (Array.isArray(expected)) t.strictSame(load(), expected);
    else t.throws(load, { cniCode: 7, message: expected });
  });

t.test('cniVersions: the highest that both know', async (t) => {
  const versions: Array<[object, string]> = [
    [{ cniVersion: '0.4.0' }, '0.4.0'],
    [{ cniVersion: '0.4.0', cniVersions: ['1.0.0', '1.1.0', '2.0.0'] }, '1.1.0'],
    [{ cniVersions: ['0.3.1', '1.0.0'] }, '1.0.0'],
    [{ cniVersion: '1.1.0', cniVersions: ['0.4.0'] }, '1.1.0'],
  ];
  for (const [keys, expected] of versions)
    t.equal(parseList({ name: 'n', plugins: [{ type: 'fake' }], ...keys }).cniVersion, expected);
  t.throws(() => parseList({ name: 'n', plugins: [{ type: 'fake' }] }), {
    cniCode: 1,
    message: /cniVersion/,
  });
});

t.test('the cache', async (t) => {
  const { cni, cacheDir, lines } = lab(t.testdir());
  const entry = (containerId: string, network: string) => ({
    containerId,
    network,
    ifname: 'eth0',
    config: undefined,
    result: undefined,
    netns: undefined,
    args: [],
    capabilityArgs: {},
  });
  saveAttachment(cacheDir, entry('b-c', 'a'), '1.1.0');
  t.equal(
    loadAttachment(cacheDir, 'a-b', { containerId: 'c', ifname: 'eth0' }),
    undefined,
    'a like name is not the same',
  );
  t.ok(loadAttachment(cacheDir, 'a', { containerId: 'b-c', ifname: 'eth0' }));
  writeFileSync(join(cacheDir, 'results/net-cut-eth0'), '{"kind":"cniCac');
  mkdirSync(join(cacheDir, 'results/net-folder-eth0'));
  writeFileSync(
    join(cacheDir, 'results/net-evil-eth0'),
    JSON.stringify({
      kind: 'cniCacheV1',
      containerId: '../../x',
      ifName: 'eth0',
      networkName: 'net',
      config: '',
    }),
  );
  t.strictSame(
    listAttachments(cacheDir).map(({ containerId }) => containerId),
    ['b-c'],
    'the rest is passed over',
  );
  for (const containerId of ['cut', 'folder', 'evil', 'never-there'])
    await cni.delNetworkList(listOf(), { containerId, ifname: 'eth0' });
  t.equal(lines('order').filter((line) => line.startsWith('-DEL')).length, 4, 'none of them blocks a DEL');
  t.strictSame(readdirSync(join(cacheDir, 'results')), ['a-b-c-eth0']);
});

t.test('a cache folder that cannot be written', async (t) => {
  const dir = t.testdir({ cache: 'a file' });
  const { cni, lines } = lab(dir);
  await t.rejects(cni.addNetworkList(listOf(), who), { cniCode: 5, message: /cannot be noted/ });
  t.strictSame(lines('order'), [], 'before anything was attached');
  await cni.delNetworkList(listOf(), who);
  t.strictSame(lines('order').at(-1), '-DEL c1');
});

t.test('a slow plugin ends at its time limit', async (t) => {
  const { cni } = lab(t.testdir(), { timeoutMs: 100 });
  await t.rejects(cni.delNetworkList(listOf({ hang: 'DEL' }), who), {
    cniCode: 11,
    message: /no end after 100 ms/,
  });
});
