// lib/cni against plugins that are small scripts: order, prevResult, undo, cache, capabilities, exclusion, GC.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadAttachment } from '../../../lib/cni/cache.ts';
import { loadDefault, loadFolder, parseList } from '../../../lib/cni/conf.ts';
import { Gate } from '../../../lib/cni/gate.ts';
import { Cni } from '../../../lib/cni/runtime.ts';

// A plugin that writes down how it was called, and does as its configuration says.
const script = `#!/bin/sh
conf=$(cat)
echo "$CNI_COMMAND $(basename $0) $CNI_CONTAINERID $CNI_IFNAME \${CNI_NETNS:-none} \${CNI_ARGS:-} \${PODWIRE_TRACE:-}|$conf" >> "$(dirname $0)/calls"
case "$conf" in *'"fail":"'$CNI_COMMAND'"'*) echo '{"cniVersion":"1.1.0","code":123,"msg":"as told","details":"because"}'; exit 1;; esac
case "$conf" in *'"crash":"'$CNI_COMMAND'"'*) echo 'boom' >&2; exit 3;; esac
case "$conf" in *'"sleep":"'$CNI_COMMAND'"'*) exec sleep 60;; esac
[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.'$(echo "$(basename $0)" | wc -c)'/24"}]}'
exit 0
`;

interface Lab {
  cni: Cni;
  dir: string;
  calls: () => Array<{ what: string; conf: Record<string, unknown> }>;
}
function lab(dir: string): Lab {
  for (const name of ['one', 'three']) {
    writeFileSync(join(dir, name), script);
    chmodSync(join(dir, name), 0o755);
  }
  const calls = () =>
    readFileSync(join(dir, 'calls'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => {
        const at = line.indexOf('|');
        return { what: line.slice(0, at).trim(), conf: JSON.parse(line.slice(at + 1)) };
      });
  return { cni: new Cni({ pluginDirs: [dir], cacheDir: join(dir, 'cache') }), dir, calls };
}
const listOf = (one: object = {}, three: object = {}, more: object = {}) =>
  parseList({
    cniVersion: '1.1.0',
    name: 'net',
    ...more,
    plugins: [
      { type: 'one', ...one },
      { type: 'three', ...three },
    ],
  });
const who = { containerId: 'c1', ifname: 'eth0', netns: '/run/netns/c1' };

t.test('ADD in order, DEL in reverse with the result', async (t) => {
  const { cni, dir, calls } = lab(t.testdir());
  const list = listOf({ capabilities: { portMappings: true }, strange: { kept: 1 } });
  const result = await cni.addNetworkList(list, {
    ...who,
    args: { K8S_POD_NAME: 'web' },
    env: { PODWIRE_TRACE: '/tmp/trace' },
    capabilityArgs: { portMappings: [{ hostPort: 80 }], bandwidth: {} },
  });
  t.strictSame(result, { ips: [{ address: '10.0.0.6/24' }] }, "the last plugin's");
  const [first, second] = calls();
  t.equal(first?.what, 'ADD one c1 eth0 /run/netns/c1 K8S_POD_NAME=web /tmp/trace');
  t.match(first?.conf, {
    name: 'net',
    cniVersion: '1.1.0',
    strange: { kept: 1 },
    runtimeConfig: { portMappings: [{ hostPort: 80 }] },
  });
  t.strictSame(Object.keys(first?.conf.runtimeConfig ?? {}), ['portMappings'], 'declared ones only');
  t.notOk('runtimeConfig' in (second?.conf ?? {}), 'the other declares none');
  t.notOk('prevResult' in (first?.conf ?? {}));
  t.match(second?.conf.prevResult, { cniVersion: '1.1.0', ips: [{ address: '10.0.0.4/24' }] });

  const cached = JSON.parse(readFileSync(join(dir, 'cache/results/net-c1-eth0'), 'utf8'));
  t.match(cached, {
    kind: 'cniCacheV1',
    containerId: 'c1',
    ifName: 'eth0',
    networkName: 'net',
    result: { ips: [{ address: '10.0.0.6/24' }] },
  });

  // DEL knows nothing but who: the rest comes from the cache, and from the list of that time.
  await cni
    .delNetworkList(listOf({}, {}, { plugins: undefined }), { containerId: 'c1', ifname: 'eth0' })
    .catch(() => t.fail('DEL'));
  const [, , third, fourth] = calls();
  t.equal(third?.what, 'DEL three c1 eth0 /run/netns/c1 K8S_POD_NAME=web');
  t.equal(fourth?.what, 'DEL one c1 eth0 /run/netns/c1 K8S_POD_NAME=web');
  for (const call of [third, fourth]) t.match(call?.conf.prevResult, { ips: [{ address: '10.0.0.6/24' }] });
  t.strictSame(readdirSync(join(dir, 'cache/results')), []);
  await cni.delNetworkList(list, who);
  t.equal(calls().length, 6, 'a second DEL asks the plugins again, and succeeds');
});

t.test('a failed ADD is undone', async (t) => {
  const { cni, dir, calls } = lab(t.testdir());
  await t.rejects(cni.addNetworkList(listOf({}, { fail: 'ADD' }), who), {
    cniCode: 123,
    code: 'CNI_PLUGIN',
    message: 'three ADD: as told',
    details: 'because',
  });
  t.strictSame(
    calls().map(({ what }) => what.split(' ').slice(0, 2).join(' ')),
    ['ADD one', 'ADD three', 'DEL three', 'DEL one'],
  );
  t.strictSame(readdirSync(join(dir, 'cache/results')), []);
});

t.test('a failed undo is told, and remembered', async (t) => {
  const { cni, dir } = lab(t.testdir());
  const list = listOf({ fail: 'DEL' }, { crash: 'ADD' });
  await t.rejects(cni.addNetworkList(list, who), {
    message: /three ADD: exit code 3.*undoing it failed.*one DEL: as told/,
  });
  t.strictSame(readdirSync(join(dir, 'cache/results')), ['net-c1-eth0']);
});

t.test('DEL tries every plugin', async (t) => {
  const { cni, calls } = lab(t.testdir());
  await t.rejects(cni.delNetworkList(listOf({}, { fail: 'DEL' }), who), { cniCode: 123, message: /as told/ });
  t.strictSame(
    calls().map(({ what }) => what.split(' ').slice(0, 2).join(' ')),
    ['DEL three', 'DEL one'],
  );
});

for (const [name, text] of [
  ['cut short', '{"kind":"cniCac'],
  ['foreign', '[]'],
  ['empty', ''],
  [
    'a bad result',
    '{"kind":"cniCacheV1","containerId":"c1","ifName":"eth0","networkName":"net","config":"!","result":7}',
  ],
] as const)
  t.test(`a cache file that is ${name} does not block DEL`, async (t) => {
    const { cni, dir, calls } = lab(t.testdir());
    mkdirSync(join(dir, 'cache/results'), { recursive: true });
    writeFileSync(join(dir, 'cache/results/net-c1-eth0'), text);
    await cni.delNetworkList(listOf(), who);
    t.equal(calls().length, 2);
    t.notOk(existsSync(join(dir, 'cache/results/net-c1-eth0')));
  });

t.test('a plugin that hangs', async (t) => {
  const { dir } = lab(t.testdir());
  const cni = new Cni({ pluginDirs: [dir], cacheDir: join(dir, 'cache'), timeoutMs: 300 });
  await t.rejects(cni.addNetworkList(listOf({ sleep: 'ADD' }), who), {
    cniCode: 11,
    message: /no end after 300 ms/,
  });
});

t.test('a plugin that is not there', async (t) => {
  const { cni, dir } = lab(t.testdir());
  const list = parseList({ cniVersion: '1.1.0', name: 'net', plugins: [{ type: 'absent' }] });
  await t.rejects(cni.addNetworkList(list, who), {
    message: new RegExp(`"absent": no such executable in ${dir}`),
  });
});

t.test('bad attachments', async (t) => {
  const { cni } = lab(t.testdir());
  for (const bad of [{ containerId: '../x' }, { ifname: 'a/b' }, { ifname: '' }, { args: { K: 'a;b' } }])
    await t.rejects(async () => cni.addNetworkList(listOf(), { ...who, ...bad }), {
      cniCode: 4,
      message: /^CNI_/,
    });
  await t.rejects(async () => cni.addNetworkList(listOf(), { ...who, netns: '' }), {
    cniCode: 4,
    message: /CNI_NETNS/,
  });
});

t.test('GC: DEL of what is remembered and not valid, then GC of each plugin', async (t) => {
  const { cni, calls, dir } = lab(t.testdir());
  for (const containerId of ['c1', 'c2']) await cni.addNetworkList(listOf(), { ...who, containerId });
  await cni.gcNetworkList(listOf(), [{ containerId: 'c1', ifname: 'eth0' }]);
  const after = calls().slice(4);
  const words = (from: number, to: number) =>
    after.map(({ what }) => what.split(' ').slice(from, to).join(' '));
  t.strictSame(words(0, 2), ['DEL three', 'DEL one', 'GC one', 'GC three']);
  t.strictSame(words(2, 3).slice(0, 2), ['c2', 'c2']);
  t.match(after[2]?.conf, { 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] });
  t.ok(loadAttachment(join(dir, 'cache'), 'net', { containerId: 'c1', ifname: 'eth0' }));
  t.equal(loadAttachment(join(dir, 'cache'), 'net', { containerId: 'c2', ifname: 'eth0' }), undefined);
  const count = calls().length;
  await cni.gcNetworkList(listOf({}, {}, { disableGC: true }), []);
  t.equal(calls().length, count, 'disableGC');
});

t.test('CHECK and STATUS', async (t) => {
  const { cni, calls } = lab(t.testdir());
  await t.rejects(cni.checkNetworkList(listOf(), who), { cniCode: 3, message: /no result of its ADD/ });
  await cni.addNetworkList(listOf(), who);
  await cni.checkNetworkList(listOf(), who);
  t.match(calls().at(-1)?.conf.prevResult, { ips: [{ address: '10.0.0.6/24' }] });
  const count = calls().length;
  await cni.checkNetworkList(listOf({}, {}, { disableCheck: true }), who);
  await cni.getStatus(listOf({}, {}, { cniVersion: '1.0.0' }));
  t.equal(calls().length, count);
  await t.rejects(cni.getStatus(listOf({ fail: 'STATUS' })), { cniCode: 123, message: /as told/ });
});

t.test('one at a time for a container, side by side for others, GC alone', async (t) => {
  const gate = new Gate();
  const log: string[] = [];
  const work = (name: string, ms: number) => async () => {
    log.push(`+${name}`);
    await new Promise((resolve) => setTimeout(resolve, ms));
    log.push(`-${name}`);
  };
  const failing = gate.shared('a', async () => {
    throw new Error('no');
  });
  const all = [
    gate.shared('a', work('a1', 20)),
    gate.shared('a', work('a2', 1)),
    gate.shared('b', work('b', 1)),
    gate.alone(work('gc', 5)),
    gate.shared('b', work('b2', 1)),
  ];
  await t.rejects(failing, { message: 'no' });
  await Promise.all(all);
  t.strictSame(
    log,
    ['+b', '+a1', '-b', '-a1', '+a2', '-a2', '+gc', '-gc', '+b2', '-b2'].sort(
      (x, y) => log.indexOf(x) - log.indexOf(y),
    ),
  );
  t.ok(log.indexOf('-a1') < log.indexOf('+a2'));
  t.ok(log.indexOf('+b') < log.indexOf('-a1'));
  t.ok(log.indexOf('-a2') < log.indexOf('+gc') && log.indexOf('-gc') < log.indexOf('+b2'));
});

t.test('configurations of a folder', async (t) => {
  const list = (name: string) =>
    JSON.stringify({
      cniVersion: '1.0.0',
      cniVersions: ['0.4.0', '1.1.0', '7.0.0'],
      name,
      plugins: [{ type: 'one' }],
    });
  const dir = t.testdir({
    '20-b.conflist': list('b'),
    '10-a.conf': JSON.stringify({ cniVersion: '0.4.0', name: 'a', type: 'one' }),
    'notes.txt': 'x',
    '.hidden.conflist': '{',
    b: { '50-x.conf': JSON.stringify({ type: 'three' }) },
  });
  const [a, b] = loadFolder(dir);
  t.match(a, { name: 'a', cniVersion: '0.4.0', plugins: [{ type: 'one' }] });
  t.match(b, { name: 'b', cniVersion: '1.1.0', plugins: [{ type: 'one' }, { type: 'three' }] });
  t.equal(loadDefault(dir).name, 'a');
  t.throws(() => loadDefault(join(dir, 'none')), { cniCode: 7, message: /no CNI configuration/ });
  t.strictSame(loadFolder(join(dir, 'none')), []);
});

const wrong: Array<[string, string, number, RegExp]> = [
  ['not JSON', '{', 6, /not JSON/],
  ['no name', '{"cniVersion":"1.0.0","plugins":[{"type":"x"}]}', 7, /name/],
  ['no plugins', '{"cniVersion":"1.0.0","name":"n","plugins":[]}', 7, /plugins/],
  [
    'a type that is a path',
    '{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"../sh"}]}',
    7,
    /plugins\[0\]\.type/,
  ],
  ['a foreign version', '{"cniVersion":"3.0.0","name":"n","plugins":[{"type":"x"}]}', 1, /cniVersion/],
];
for (const [name, text, cniCode, message] of wrong)
  t.test(`refused: ${name}`, async (t) => {
    const dir = t.testdir({ 'x.conflist': text });
    t.throws(() => loadFolder(dir), { cniCode, message });
    t.throws(() => loadFolder(dir), { message: /x\.conflist: / }, 'the message names the file');
  });
