// The protocol's face: bad environment, bad input, versions, errors; every answer is a result or a CNI error object.
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseArgs } from '../../../cni-plugins/skel/env.ts';
import { maxInput, readInput } from '../../../cni-plugins/skel/input.ts';
import { type Host, type Plugin, serve } from '../../../cni-plugins/skel/skel.ts';
import { specVersions } from '../../../lib/cni/types.ts';

const calls: string[] = [];
const plugin: Plugin = {
  type: 'fake',
  ipam: true, // it acts on no namespace, so none is looked for
  add: async (call) => {
    calls.push(`ADD ${call.containerId} ${call.args.K8S_POD_NAME ?? ''}`);
    if (call.name === 'broken') throw new Error('it broke');
    return { ips: [{ address: '10.0.0.2/24' }] };
  },
  del: async (call) => {
    calls.push(`DEL ${call.containerId} ${call.prevResult ? 'with' : 'without'} result`);
  },
  gc: async (call) => {
    calls.push(`GC ${call.validAttachments.map((one) => `${one.containerId}/${one.ifname}`).join(' ')}`);
  },
};
const host: Host = { exec: async () => ({ stdout: '', stderr: '', exitCode: 0 }), plugins: {}, self: '/x' };
const good = {
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/x',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
};
const conf = (more: object = {}) =>
  JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'fake', ...more });
const ask = async (env: Record<string, string>, stdin: string) => {
  const answer = await serve(plugin, env, { stdin, host });
  return { ...answer, json: answer.stdout === '' ? undefined : JSON.parse(answer.stdout) };
};

for (const version of specVersions)
  t.test(`ADD in ${version}`, async (t) => {
    const { json, exitCode } = await ask({ ...good, CNI_COMMAND: 'ADD' }, conf({ cniVersion: version }));
    t.equal(exitCode, 0);
    t.equal(json.cniVersion, version);
    t.equal(json.ips[0].version, version < '1' ? '4' : undefined);
  });

const faults: Array<[string, Record<string, string>, string, number, RegExp]> = [
  ['no command', { ...good }, conf(), 4, /^CNI_COMMAND/],
  ['unknown command', { ...good, CNI_COMMAND: 'SING' }, conf(), 4, /^CNI_COMMAND.*SING/],
  [
    'nothing set',
    { CNI_COMMAND: 'ADD' },
    conf(),
    4,
    /^CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME: needed for ADD/,
  ],
  ['no netns', { ...good, CNI_NETNS: '', CNI_COMMAND: 'ADD' }, conf(), 4, /^CNI_NETNS/],
  ['relative netns', { ...good, CNI_NETNS: 'x', CNI_COMMAND: 'ADD' }, conf(), 4, /^CNI_NETNS/],
  [
    'container id',
    { ...good, CNI_CONTAINERID: '../x', CNI_COMMAND: 'ADD' },
    conf(),
    4,
    /^CNI_CONTAINERID.*\.\.\/x/,
  ],
  [
    'interface name too long',
    { ...good, CNI_IFNAME: 'a234567890123456', CNI_COMMAND: 'ADD' },
    conf(),
    4,
    /^CNI_IFNAME/,
  ],
  [
    'interface name with a slash',
    { ...good, CNI_IFNAME: 'a/b', CNI_COMMAND: 'ADD' },
    conf(),
    4,
    /^CNI_IFNAME/,
  ],
  ['args', { ...good, CNI_ARGS: 'x', CNI_COMMAND: 'ADD' }, conf(), 4, /^CNI_ARGS/],
  ['GC without path', { CNI_COMMAND: 'GC' }, conf(), 4, /^CNI_PATH/],
  ['empty input', { ...good, CNI_COMMAND: 'ADD' }, '', 6, /empty/],
  ['binary input', { ...good, CNI_COMMAND: 'ADD' }, '\u0000\u0001', 6, /not JSON/],
  ['an array', { ...good, CNI_COMMAND: 'ADD' }, '[]', 6, /JSON object/],
  ['null', { ...good, CNI_COMMAND: 'ADD' }, 'null', 6, /JSON object/],
  ['huge input', { ...good, CNI_COMMAND: 'ADD' }, ' '.repeat(4 * 1024 * 1024 + 1), 6, /more than/],
  ['no version', { ...good, CNI_COMMAND: 'ADD' }, '{"name":"net"}', 1, /0\.1\.0/],
  ['an unknown version', { ...good, CNI_COMMAND: 'ADD' }, conf({ cniVersion: '9.0.0' }), 1, /9\.0\.0/],
  ['no name', { ...good, CNI_COMMAND: 'ADD' }, conf({ name: undefined }), 7, /^name/],
  ['a name that is a path', { ...good, CNI_COMMAND: 'ADD' }, conf({ name: '../../etc' }), 7, /^name.*etc/],
  ['CHECK without result', { ...good, CNI_COMMAND: 'CHECK' }, conf(), 7, /^prevResult/],
  [
    'CHECK before there was one',
    { ...good, CNI_COMMAND: 'CHECK' },
    conf({ cniVersion: '0.3.1', prevResult: {} }),
    1,
    /CHECK came with CNI 0\.4\.0/,
  ],
  ['STATUS before there was one', { CNI_COMMAND: 'STATUS' }, conf({ cniVersion: '1.0.0' }), 1, /STATUS/],
  [
    'GC with attachments that are no list',
    { ...good, CNI_COMMAND: 'GC' },
    conf({ 'cni.dev/valid-attachments': 'all' }),
    7,
    /attachments/,
  ],
  ['a bad prevResult for ADD', { ...good, CNI_COMMAND: 'ADD' }, conf({ prevResult: 5 }), 7, /^prevResult/],
  ['a crash inside', { ...good, CNI_COMMAND: 'ADD' }, conf({ name: 'broken' }), 999, /^it broke$/],
];
for (const [name, env, stdin, code, message] of faults)
  t.test(`fault: ${name}`, async (t) => {
    const { json, exitCode } = await ask(env, stdin);
    t.equal(exitCode, 1);
    t.match(json, { code, msg: message, cniVersion: /^\d/ });
  });

t.test('DEL needs no namespace, and minds no bad prevResult', async (t) => {
  calls.length = 0;
  t.equal(
    (await ask({ CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0' }, conf({ prevResult: 5 })))
      .exitCode,
    0,
  );
  t.strictSame(calls, ['DEL c1 without result']);
});

t.test('GC gets who is still there', async (t) => {
  calls.length = 0;
  const list = [{ containerID: 'c1', ifname: 'eth0' }];
  await ask({ CNI_COMMAND: 'GC', CNI_PATH: '/x' }, conf({ 'cni.dev/valid-attachments': list }));
  await ask({ CNI_COMMAND: 'GC', CNI_PATH: '/x' }, conf({ 'cni.dev/attachments': [] }));
  await ask({ CNI_COMMAND: 'GC', CNI_PATH: '/x' }, conf());
  t.strictSame(calls, ['GC c1/eth0', 'GC ', 'GC ']);
});

t.test('VERSION whatever comes in', async (t) => {
  for (const [stdin, version] of [
    ['', '1.1.0'],
    ['{"cniVersion":"0.4.0"}', '0.4.0'],
    ['nonsense', '1.1.0'],
  ] as const)
    t.strictSame((await ask({ CNI_COMMAND: 'VERSION' }, stdin)).json, {
      cniVersion: version,
      supportedVersions: [...specVersions],
    });
});

t.test('a namespace that is none', async (t) => {
  const real: Plugin = { ...plugin, ipam: undefined as never };
  for (const [netns, message] of [
    ['/run/no-such-netns', /no such file/],
    ['/etc/passwd', /not a namespace/],
    ['/proc/self/ns/net', /own namespace/],
  ] as const) {
    const answer = await serve(
      real,
      { ...good, CNI_NETNS: netns, CNI_COMMAND: 'ADD' },
      { stdin: conf(), host },
    );
    t.match(JSON.parse(answer.stdout), { code: 8, msg: message });
  }
});

t.test('DEL in a namespace that is none, or our own, is a DEL without one', async (t) => {
  const seen: string[] = [];
  const real: Plugin = {
    type: 'real',
    add: async () => ({}),
    del: async (call) => {
      seen.push(call.netns);
    },
  };
  const del = (netns: string, more: Record<string, string> = {}) =>
    serve(real, { ...good, ...more, CNI_NETNS: netns, CNI_COMMAND: 'DEL' }, { stdin: conf(), host });
  for (const netns of ['/run/no-such-netns', '/etc/passwd', '/proc/self/ns/net'])
    t.equal((await del(netns)).exitCode, 0);
  t.strictSame(seen, ['', '', ''], "the machine's own links are not a container's");
  await del('/proc/self/ns/net', { CNI_NETNS_OVERRIDE: '1' });
  t.equal(seen.at(-1), '/proc/self/ns/net');
});

t.test('what a verb does not take is as if it were not set', async (t) => {
  const env = {
    CNI_COMMAND: 'STATUS',
    CNI_CONTAINERID: '../x',
    CNI_IFNAME: 'a/b',
    CNI_NETNS: 'x',
    CNI_ARGS: '=',
  };
  t.equal((await ask(env, conf())).exitCode, 0);
});

t.test('standard input, with its limit', async (t) => {
  const dir = t.testdir({ small: '{"a":1}', big: 'x'.repeat(maxInput + 1), full: 'x'.repeat(maxInput) });
  const read = (name: string): string => {
    const fd = openSync(join(dir, name), 'r');
    try {
      return readInput(fd);
    } finally {
      closeSync(fd);
    }
  };
  t.equal(read('small'), '{"a":1}');
  t.equal(read('full').length, maxInput);
  t.throws(() => read('big'), { cniCode: 6, message: /more than/ });
  t.throws(() => read('.'), { cniCode: 5, message: /EISDIR/ });
  t.throws(() => readInput(9999), { cniCode: 5, message: /EBADF/ });
  const fault = await serve(plugin, { ...good, CNI_COMMAND: 'ADD' }, { stdin: () => readInput(9999), host });
  t.match(JSON.parse(fault.stdout), { code: 5 });
});

t.test('CNI_ARGS', async (t) => {
  t.strictSame(parseArgs('IgnoreUnknown=1;K8S_POD_NAME=web;X=a=b;'), {
    IgnoreUnknown: '1',
    K8S_POD_NAME: 'web',
    X: 'a=b',
  });
});
