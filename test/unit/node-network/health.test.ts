// Probes between nodes: what is said, what it means, and real rounds over loopback addresses.
import t from 'tap';
import {
  type Cause,
  diagnose,
  isNetworkUnavailable,
  type Observation,
} from '../../../lib/node-network/health/diagnose.ts';
import {
  decode,
  encodeAnswer,
  encodeQuestion,
  smallSize,
  underlaySize,
} from '../../../lib/node-network/health/messages.ts';
import { fullPayload, HealthProber, intervalMs } from '../../../lib/node-network/health/prober.ts';
import type { Surroundings } from '../../../lib/node-network/health/surroundings.ts';
import { until } from '../../until.ts';

const well: Observation = {
  ...{ peer: 'n2', peerAddress: '10.0.0.2', mtu: 1450, carrier: 'udp port 8472' },
  ...{ underlay: 'answered', small: 'answered', full: 'answered', unchecked: 'answered', heard: 'yes' },
  ...{ lacksHere: [], lacksThere: [] },
};
const dead = { small: 'silent', full: 'silent', unchecked: 'silent' } as const;
const cases: [string, Partial<Observation>, Cause, RegExp][] = [
  ['all is well', {}, 'ok', /^$/],
  ['probes of the underlay are blocked: nobody cares', { underlay: 'silent' }, 'ok', /^$/],
  ['large packets are lost', { full: 'silent' }, 'mtu', /packets of 1450 bytes/],
  ['only packets without checksum pass', { ...dead, unchecked: 'answered' }, 'checksum', /ethtool -K/],
  ['the node is down', { ...dead, underlay: 'silent', heard: 'unknown' }, 'unreachable', /10\.0\.0\.2/],
  [
    'we lack a route',
    { ...dead, heard: 'no', lacksHere: ['route 10.2.0.0/24'] },
    'routes-here',
    /route 10\.2/,
  ],
  [
    'the peer lacks one',
    { ...dead, heard: 'yes', lacksThere: ['fdb 02:…'] },
    'routes-there',
    /n2 lacks: fdb/,
  ],
  [
    'the port is blocked',
    { ...dead, heard: 'no' },
    'blocked',
    /let udp port 8472 from this node to 10\.0\.0\.2/,
  ],
  [
    'the port is blocked the other way',
    { ...dead, heard: 'yes' },
    'blocked-back',
    /from 10\.0\.0\.2 to this node/,
  ],
  ['nothing is known', { ...dead, heard: 'unknown' }, 'silent', /not through the overlay/],
  ['IPv6 has no such packets', { ...dead, unchecked: 'untried', heard: 'no' }, 'blocked', /8472/],
];
for (const [name, change, cause, message] of cases)
  t.match(diagnose({ ...well, ...change }), { cause, message }, name);

const of = (...causes: Cause[]) => causes.map((cause) => ({ cause, message: '' }));
t.equal(isNetworkUnavailable([]), false, 'a node alone');
t.equal(
  isNetworkUnavailable(of('unreachable', 'unreachable')),
  false,
  'all others are down: not our network',
);
t.equal(isNetworkUnavailable(of('ok', 'blocked')), false, 'one of two');
t.equal(
  isNetworkUnavailable(of('ok', 'blocked', 'mtu', 'unreachable')),
  true,
  'most of those that are there',
);

t.test('messages', async (t) => {
  const question = { from: 'n1', round: 7, way: 'overlay', size: 128 } as const;
  const bytes = encodeQuestion(question);
  t.equal(bytes.length, 128);
  t.strictSame(decode(bytes), { question });
  const heard = { overlay: 3, unchecked: 4 };
  const lacks = Array.from({ length: 50 }, (_, at) => `route 10.${at}.0.0/24 via nothing at all`);
  const answer = { ...question, way: 'underlay', size: 1200, heard, lacks } as const;
  const sent = encodeAnswer(answer);
  t.equal(sent.length, 1200, 'no longer than the question');
  const got = decode(sent);
  t.match(got, { answer: { heard, from: 'n1', round: 7 } });
  t.ok(got && 'answer' in got && got.answer.lacks.length > 5 && got.answer.lacks.length < 50);
  for (const from of ['ip-10-0-0-2.eu-west-1.compute.internal', 'a'.repeat(253)])
    for (const [way, size] of [
      ['overlay', smallSize],
      ['unchecked', smallSize],
      ['underlay', underlaySize],
    ] as const) {
      const asked = { from, round: Number.MAX_SAFE_INTEGER, way, size };
      const name = `${way}: a name of ${from.length} letters, after any number of rounds`;
      t.strictSame(decode(encodeQuestion(asked)), { question: asked }, name);
      t.match(decode(encodeAnswer({ ...asked, heard, lacks })), { answer: asked }, name);
    }
  for (const wrong of [
    '',
    'hello',
    'podwire-health/1 ? {',
    'podwire-health/1 ? {"from":"../x","round":1,"way":"overlay"}',
  ])
    t.equal(decode(Buffer.from(wrong)), undefined, wrong);
});

const round = (count: number, cause: Cause) =>
  Array.from({ length: count }, () => ({ peer: '', address: '', overlayAddress: '', cause, message: '' }));
t.equal(intervalMs([]), 2000);
t.equal(intervalMs(round(2, 'ok')), 2000);
t.equal(intervalMs(round(2, 'mtu')), 1000, 'sooner');
t.equal(intervalMs(round(500, 'mtu')), 5000, 'many');
t.equal(intervalMs(round(5000, 'ok')), 10_000);

t.equal(fullPayload(1450, '10.0.0.1'), 1422);
t.equal(fullPayload(1430, 'fd00::1'), 1382);

t.test('rounds between two nodes', async (t) => {
  const around = (own: number, other: number): Surroundings => ({
    ...{ address: `127.77.0.${own}`, overlayAddress: `127.77.1.${own}`, mtu: 1450, carrier: 'udp port 8472' },
    peers: [{ name: `n${other}`, address: `127.77.0.${other}`, overlayAddress: `127.77.1.${other}` }],
    lacks: () => (own === 2 ? ['a route'] : []),
  });
  const errors: unknown[] = [];
  const make = (nodeName: string, surroundings: () => Surroundings | undefined) =>
    new HealthProber({
      nodeName,
      surroundings,
      port: 21_254,
      timeoutMs: 300,
      onError: (error) => errors.push(error),
    });
  const one = make('n1', () => around(1, 2));
  let its: Surroundings | undefined;
  const two = make('n2', () => its);
  t.teardown(() => {
    one.close();
    two.close();
  });
  t.match(await one.probe(), [{ peer: 'n2', cause: 'unreachable' }], 'nobody there yet');
  t.strictSame(await two.probe(), [], 'a node without network asks nobody');
  its = around(2, 1);
  await two.probe();
  const sees = (cause: Cause) => until(async () => (await one.probe())[0]?.cause === cause);
  t.ok(await sees('ok'));
  const [health] = one.health();
  t.match(health, { overlayAddress: '127.77.1.2' });
  t.type(health?.rttMs, 'number');
  its = { ...around(2, 1), overlayAddress: '127.77.1.9' };
  await two.probe();
  t.ok(await sees('routes-there'), 'it listens elsewhere now');
  t.match(one.health(), [{ message: /n2 lacks: a route/ }]);
  its = { ...around(2, 1), peers: [] };
  t.strictSame(await two.probe(), [], 'alone');
  t.match(await one.probe(), [{ cause: 'unreachable' }], 'and deaf: it has no port open');
  t.strictSame(errors, []);
});
