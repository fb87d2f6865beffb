// cnitool: its command line and environment, and that the ids it makes are the original's.
import t from 'tap';
import { containerIdOf, parseArgv, parseCapabilities, parsePairs } from '../../../cmd/cnitool/main.ts';

const lines: Array<[string, string[], Record<string, string>, object | undefined | RegExp]> = [
  [
    'plain',
    ['add', 'net', '/run/netns/a'],
    {},
    { verb: 'add', network: 'net', netns: '/run/netns/a', ifname: 'eth0' },
  ],
  ['from CNI_IFNAME', ['del', 'net', '/a'], { CNI_IFNAME: 'net1' }, { ifname: 'net1' }],
  [
    'the flag is stronger',
    ['-i', 'x0', 'gc', 'net', '/a'],
    { CNI_IFNAME: 'net1' },
    { verb: 'gc', ifname: 'x0' },
  ],
  ['the flag behind', ['status', 'net', '/a', '--ifname=x1'], {}, { verb: 'status', ifname: 'x1' }],
  ['a relative namespace', ['check', 'net', 'a'], {}, { netns: `${process.cwd()}/a` }],
  ['help', ['add', '--help'], {}, undefined],
  ['nothing', [], {}, undefined],
  ['an unknown verb', ['sing', 'net', '/a'], {}, /unknown command "sing"/],
  ['no namespace', ['add', 'net'], {}, /requires at least 2 arg\(s\), only received 1/],
  ['an unknown flag', ['add', '--fast', 'net', '/a'], {}, /unknown flag: --fast/],
  ['an empty name', ['add', 'net', '/a', '-i'], {}, /--ifname/],
];
for (const [name, argv, env, expected] of lines)
  t.test(name, async (t) => {
    if (expected instanceof RegExp) t.throws(() => parseArgv(argv, env), { message: expected });
    else if (expected === undefined) t.equal(parseArgv(argv, env), undefined);
    else t.match(parseArgv(argv, env), expected);
  });

t.test('CNI_ARGS and CAP_ARGS', async (t) => {
  t.strictSame(parsePairs('A=1;B=x'), { A: '1', B: 'x' });
  t.strictSame(parsePairs(''), {});
  for (const bad of ['A', 'A=', '=1', 'A=1;', 'A=1=2'])
    t.throws(() => parsePairs(bad), { message: /invalid CNI_ARGS pair/ }, bad);
  t.strictSame(parseCapabilities('{"mac":"02:00:00:00:00:01"}'), { mac: '02:00:00:00:00:01' });
  for (const bad of ['{', '[]', '1']) t.throws(() => parseCapabilities(bad), { message: /CAP_ARGS/ }, bad);
});

t.test('the id of a namespace is the one that the original makes', async (t) => {
  // printf %s /run/netns/a | sha512sum | cut -c1-20
  t.equal(containerIdOf('/run/netns/a'), 'cnitool-a145bc1ace582bff43bd');
});
