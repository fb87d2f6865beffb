// The command lines and texts that lib/kernel hands to ip, nft and nsenter, and how it reads their failures.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ExecError } from '../../../lib/exec/errors.ts';
import type { Command, Exec } from '../../../lib/exec/exec.ts';
import { ipArgv, ipBatch, ipJson, ipWord, netnsArgv } from '../../../lib/kernel/ip.ts';
import { defaultRouteDevice, deleteLink, isLinkName } from '../../../lib/kernel/link.ts';
import { ipLine, ipNet } from '../../../lib/kernel/net.ts';
import { addNetns, netnsPath, raiseLoopback } from '../../../lib/kernel/netns.ts';
import { nftApply, nftComment, nftList } from '../../../lib/kernel/nftables.ts';
import { ensureSysctl, readSysctl, sysctlPath, writeSysctl } from '../../../lib/kernel/sysctl.ts';
import { type TraceLine, traceTo } from '../../../lib/kernel/trace.ts';

/** An Exec that writes down its commands and answers as told. */
function recorder(answer: (command: Command) => string | ExecError = () => '') {
  const commands: Command[] = [];
  const exec: Exec = async (command) => {
    commands.push(command);
    const said = answer(command);
    if (said instanceof ExecError) throw said;
    return { stdout: said, stderr: '', exitCode: 0 };
  };
  return { exec, commands };
}
const failing = (stderr: string) =>
  recorder(({ argv }) => new ExecError('EXEC_FAILED', 'failed', { argv, exitCode: 1, stderr })).exec;

const argvs: Array<[string | undefined, string]> = [
  [undefined, 'ip link'],
  ['web', 'ip -n web link'],
  ['/run/netns/web', 'ip -n web link'],
  ['/var/run/netns/web', 'ip -n web link'],
  ['/proc/7/ns/net', 'nsenter --net=/proc/7/ns/net ip link'],
];
for (const [netns, wanted] of argvs)
  t.test(`ip in ${netns ?? 'our own namespace'}`, async (t) => {
    t.equal(ipArgv(netns, ['link']).join(' '), wanted);
  });

t.test('other programs', async (t) => {
  t.strictSame(netnsArgv('web', ['nft', '-f', '-']), ['nsenter', '--net=/run/netns/web', 'nft', '-f', '-']);
  t.strictSame(netnsArgv(undefined, ['nft']), ['nft']);
});

t.test('a batch', async (t) => {
  const { exec, commands } = recorder();
  const traced: TraceLine[] = [];
  await ipBatch(['link set lo up', 'link set dev eth0 up'], {
    netns: 'web',
    exec,
    trace: (line) => traced.push(line),
  });
  t.match(commands, [
    { argv: ['ip', '-n', 'web', '-batch', '-'], input: 'link set lo up\nlink set dev eth0 up\n' },
  ]);
  t.strictSame(traced, [{ tool: 'ip', netns: 'web', lines: ['link set lo up', 'link set dev eth0 up'] }]);
  await ipBatch([], { exec });
  t.equal(commands.length, 1, 'nothing to do, no process');
});

t.test('questions in a batch', async (t) => {
  const { exec, commands } = recorder(
    () =>
      '[{"ifname":"a","mtu":1,"flags":["UP"]}]\n[{"ifname":"b","mtu":2,"flags":[],"addr_info":[{"local":"10.0.0.1","prefixlen":24}]}]\n',
  );
  const traced: TraceLine[] = [];
  const seen = await ipNet({ exec, trace: (line) => traced.push(line) }).apply([
    { op: 'look', name: 'a' },
    { op: 'setLink', name: 'c', state: 'up' },
    { op: 'look', name: 'b' },
  ]);
  t.strictSame(commands[0]?.argv, ['ip', '-j', '-d', '-batch', '-']);
  t.match(seen, [
    { name: 'a', up: true, mtu: 1 },
    { name: 'b', up: false, addresses: ['10.0.0.1/24'] },
  ]);
  t.strictSame(traced, [{ tool: 'ip', lines: ['link set dev c up'] }]);
});

const failures: Array<[string, string, number]> = [
  ['RTNETLINK answers: File exists\nCommand failed -:2\n', 'EEXIST', 1],
  ['Cannot find device "x"\nCommand failed -:1\n', 'ENODEV', 0],
  ['RTNETLINK answers: Operation not permitted\nCommand failed -:1\n', 'EPERM', 0],
  ['Error: Unknown device type.\nCommand failed -:3\n', 'EOPNOTSUPP', 2],
];
for (const [stderr, code, line] of failures)
  t.test(`a failure: ${code}`, async (t) => {
    const lines = ['link set a up', 'link add name b type bridge', 'link add name c type vrf'];
    const traced: TraceLine[] = [];
    await t.rejects(ipBatch(lines, { exec: failing(stderr), trace: (one) => traced.push(one) }), {
      code,
      line,
      what: `ip ${lines[line]}`,
    });
    t.strictSame(traced, [], 'what failed is no part of the trace');
  });

t.test('a namespace that is not there', async (t) => {
  await t.rejects(
    ipBatch(['link'], {
      netns: 'x',
      exec: failing('Cannot open network namespace "x": No such file or directory\n'),
    }),
    { code: 'ENOENT' },
  );
});

t.test('ip -j', async (t) => {
  const { exec, commands } = recorder(() => '[{"ifname":"lo"}]');
  t.strictSame(await ipJson(['link', 'show'], { netns: 'x', exec }), [{ ifname: 'lo' }]);
  t.strictSame(commands[0]?.argv, ['ip', '-n', 'x', '-j', '-d', 'link', 'show']);
  t.equal(await ipNet({ exec: failing('Device "x" does not exist.') }).inspect('x'), undefined);
});

t.test('words', async (t) => {
  t.equal(ipWord('10.0.0.1/24'), '10.0.0.1/24');
  t.equal(ipWord('podwire: a/b eth0'), '"podwire: a/b eth0"');
  for (const bad of ['a"b', 'a\\b', 'a\nb', 'ä']) t.throws(() => ipWord(bad), { code: 'EINVAL' });
  t.equal(
    ipLine({ op: 'addVeth', name: 'v', peer: { name: 'eth0' } }),
    'link add name v type veth peer name eth0',
  );
  t.equal(ipLine({ op: 'deleteLink', name: 'v' }), 'link del dev v');
});

t.test('names', async (t) => {
  for (const good of ['eth0', 'veth01234567890', 'eth0.100', '-']) t.ok(isLinkName(good), good);
  for (const bad of ['', '.', '..', 'a/b', 'a:b', 'a b', '0123456789abcdef', 'ä'])
    t.notOk(isLinkName(bad), bad);
  t.equal(netnsPath('web-1.x_y'), '/run/netns/web-1.x_y');
  for (const bad of ['', '.', '../x', 'a/b', '-n', 'a\n'])
    t.throws(() => netnsPath(bad), { code: 'EINVAL' }, bad);
});

t.test('a new namespace', async (t) => {
  const { exec, commands } = recorder();
  await addNetns('podwire-unit-test', exec, () => {});
  await raiseLoopback('podwire-unit-test', exec, () => {});
  t.strictSame(
    commands.map(({ argv, input }) => `${argv.join(' ')} <<< ${input}`),
    [
      'ip -batch - <<< netns add podwire-unit-test\n',
      'ip -n podwire-unit-test -batch - <<< link set lo up\n',
    ],
  );
});

t.test('removal returns when the effect is seen', async (t) => {
  const traced: TraceLine[] = [];
  const trace = (line: TraceLine) => traced.push(line);
  let asked: readonly string[] = [];
  const until = async (command: Command, seen: () => boolean) => {
    asked = command.argv;
    t.equal(seen(), false, 'lo is there');
    return 'seen' as const;
  };
  t.equal(await deleteLink('lo', { until, trace }), true);
  t.strictSame(asked, ['ip', 'link', 'del', 'dev', 'lo']);
  t.strictSame(traced, [{ tool: 'ip', lines: ['link del dev lo'] }]);
  t.equal(await deleteLink('no-such-link', { until: () => t.fail('no process') as never, trace }), false);
  t.equal(
    await deleteLink('x', { netns: 'y', exec: failing('Cannot find device "x"\nCommand failed -:1\n') }),
    false,
  );
});

t.test('nft', async (t) => {
  const { exec, commands } = recorder(() => '{"nftables":[{"table":{"name":"x"}}]}');
  const traced: TraceLine[] = [];
  await nftApply('add table inet x\nadd set y\n', { netns: 'n', exec, trace: (line) => traced.push(line) });
  t.match(commands[0], {
    argv: ['nsenter', '--net=/run/netns/n', 'nft', '-f', '-'],
    input: 'add table inet x\nadd set y\n',
  });
  t.strictSame(traced, [{ tool: 'nft', netns: 'n', lines: ['add table inet x', 'add set y'] }]);
  t.strictSame(await nftList(['tables'], { exec }), [{ table: { name: 'x' } }]);
  t.equal(
    await nftList(['table', 'inet', 'y'], { exec: failing('Error: No such file or directory') }),
    undefined,
  );
  await t.rejects(nftList(['tables'], { exec: failing('Operation not permitted (you must be root)') }), {
    code: 'EPERM',
  });
  t.equal(nftComment('a "b" \\ ä\n'), '"a _b_ _ __"');
});

t.test('sysctl', async (t) => {
  t.equal(sysctlPath('net.ipv4.ip_forward'), '/proc/sys/net/ipv4/ip_forward');
  t.equal(sysctlPath('net/ipv4/conf/eth0.1/forwarding'), '/proc/sys/net/ipv4/conf/eth0.1/forwarding');
  for (const bad of ['', 'a', 'net..x', 'net/../../x', '../x', 'a b.c', '/etc/passwd'])
    t.throws(() => sysctlPath(bad), { code: 'EINVAL' }, bad);
  t.match(await readSysctl('kernel.ostype'), 'Linux');
  t.equal(await readSysctl('net.no.such'), undefined);
  const traced: TraceLine[] = [];
  t.equal(await ensureSysctl('kernel.ostype', 'Linux', { trace: (line) => traced.push(line) }), 'Linux');
  t.strictSame(traced, [{ tool: 'sysctl', lines: ['kernel.ostype=Linux'], held: true }]);
  const { exec, commands } = recorder();
  await writeSysctl('net.ipv4.ip_forward', '1', { netns: 'n', exec, trace: () => {} });
  t.match(commands[0], {
    argv: ['nsenter', '--net=/run/netns/n', 'tee', '/proc/sys/net/ipv4/ip_forward'],
    input: '1',
  });
});

t.test('the default route', async (t) => {
  const head = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n';
  t.equal(
    defaultRouteDevice(
      `${head}eth1\t00000000\t0102A8C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\neth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n`,
    ),
    'eth0',
  );
  t.equal(
    defaultRouteDevice(`${head}eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n`),
    undefined,
  );
});

t.test('the trace file', async (t) => {
  const file = join(t.testdir(), 'trace');
  const trace = traceTo(file);
  trace({ tool: 'ip', lines: ['a'] });
  trace({ tool: 'ip', lines: ['b'], held: true });
  t.equal(
    readFileSync(file, 'utf8'),
    '{"tool":"ip","lines":["a"]}\n{"tool":"ip","lines":["b"],"held":true}\n',
  );
  t.doesNotThrow(() => traceTo('/no/such/folder/x')({ tool: 'ip', lines: [] }));
  t.doesNotThrow(() => traceTo(undefined)({ tool: 'ip', lines: [] }));
});
