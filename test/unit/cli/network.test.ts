import t from 'tap';
import { causesOf, matrix, nodesTable } from '../../../cmd/podwire/verbs/network.ts';
import { gather } from '../../../cmd/podwired/network-status.ts';
import type { NetworkStatus } from '../../../lib/node-network/health/health.ts';

const network = {
  backend: 'vxlan',
  state: 'Ready',
  podCidrs: ['10.244.0.0/24'],
  mtu: 1450,
  link: 'podwire-vx',
  problems: {},
  lastError: undefined,
  device: 'eth0',
} as const;
const at = { address: '10.0.0.2', overlayAddress: '10.244.1.0' };
const status: NetworkStatus = {
  reports: [
    { node: 'n1', network, peers: [{ ...at, peer: 'n2', cause: 'ok', message: '', rttMs: 0.42 }] },
    {
      node: 'n2',
      network: { ...network, problems: { n3: { reason: 'NoPodCIDR', message: 'n3 has no Pod subnet yet' } } },
      peers: [{ ...at, peer: 'n1', cause: 'blocked', message: 'let udp port 8472 pass' }],
    },
  ],
  silent: [{ node: 'n3', why: 'no answer at 10.0.0.3:10250' }],
};

t.equal(
  nodesTable(status),
  [
    'NODE   NETWORK     BACKEND   PODS            UNDERLAY   MTU    REACHES',
    'n1     Ready       vxlan     10.244.0.0/24   eth0       1450   1/1',
    'n2     Ready       vxlan     10.244.0.0/24   eth0       1450   0/1',
    'n3     no answer   -         -               -          -      -',
    '',
  ].join('\n'),
);
t.equal(
  matrix(status),
  [
    'FROM \\ TO   n1        n2      n3',
    'n1          .         0.4ms   ?',
    'n2          blocked   .       ?',
    'n3          ?         ?       .',
    '',
  ].join('\n'),
);
t.strictSame(causesOf(status), [
  'n2 → n3: n3 has no Pod subnet yet',
  'n2 → n1: let udp port 8472 pass',
  'n3: no answer at 10.0.0.3:10250',
]);

t.test('a server gathers what each node tells, and why some do not', async (t) => {
  const report = (node: string) => ({ ...status.reports[0]!, node });
  const gathered = await gather({
    client: {
      list: async () => ({ items: ['n2', 'n1', 'n3'].map((name) => ({ metadata: { name } })) }),
    } as never,
    own: { name: 'n1', report: () => report('n1') },
    dialer: {
      ask: async (node) => {
        if (node === 'n3') throw new Error('no answer');
        return report(node) as never;
      },
    },
  });
  t.strictSame(
    gathered.reports.map(({ node }) => node),
    ['n1', 'n2'],
  );
  t.strictSame(gathered.silent, [{ node: 'n3', why: 'no answer' }]);
});
