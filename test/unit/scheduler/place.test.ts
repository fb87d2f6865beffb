import t from 'tap';
import type { Node, Pod } from '../../../lib/api/types.ts';
import { place } from '../../../lib/scheduler/place.ts';
import { cluster, node, pod } from './fixtures.ts';

interface Case {
  name: string;
  nodes: Node[];
  pods?: Record<string, Pod[]>;
  pod: Pod;
  /** The node chosen, or the message. */
  expect: string;
}

const taint = (key: string, effect = 'NoSchedule', value?: string) => ({
  key,
  effect,
  ...(value ? { value } : {}),
});
const hostname = 'kubernetes.io/hostname';
const term = (app: string, topologyKey = hostname, more: object = {}) => ({
  topologyKey,
  labelSelector: { matchLabels: { app } },
  ...more,
});
const required = (kind: 'podAffinity' | 'podAntiAffinity', ...terms: object[]) => ({
  affinity: { [kind]: { requiredDuringSchedulingIgnoredDuringExecution: terms } },
});
const nodeTerms = (...nodeSelectorTerms: object[]) => ({
  affinity: {
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } },
  },
});
const expressions = (...matchExpressions: object[]) => nodeTerms({ matchExpressions });
const spread = (maxSkew: number, more: object = {}) => ({
  topologySpreadConstraints: [
    {
      maxSkew,
      topologyKey: hostname,
      whenUnsatisfiable: 'DoNotSchedule',
      labelSelector: { matchLabels: { app: 'web' } },
      ...more,
    },
  ],
});
const web = { app: 'web' };
const port = (hostPort: number, more: object = {}) => ({
  containers: [{ name: 'a', ports: [{ containerPort: 80, hostPort, protocol: 'TCP', ...more }] }],
});
const ab = () => [node('a'), node('b')];
const zones = () => [
  node('a', { labels: { zone: '1' } }),
  node('b', { labels: { zone: '1' } }),
  node('c', { labels: { zone: '2' } }),
];

const cases: Case[] = [
  { name: 'no nodes', nodes: [], pod: pod('p'), expect: 'no nodes available to schedule pods' },
  { name: 'one node', nodes: [node('a')], pod: pod('p'), expect: 'a' },
  {
    name: 'more cpu than there is',
    nodes: ab(),
    pod: pod('p', { requests: { cpu: '5' } }),
    expect: '0/2 nodes are available: 2 Insufficient cpu.',
  },
  {
    name: 'all reasons of one filter are told, and counted by reason',
    nodes: [
      node('a'),
      node('b', { allocatable: { cpu: '64' } }),
      node('c', { spec: { unschedulable: true } }),
    ],
    pod: pod('p', { requests: { cpu: '5', memory: '9Gi' } }),
    expect:
      '0/3 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable, 2 Insufficient memory.',
  },
  {
    name: 'what others asked for is gone',
    nodes: ab(),
    pods: { a: [pod('x', { requests: { cpu: '3500m' } })] },
    pod: pod('p', { requests: { cpu: '501m' } }),
    expect: 'b',
  },
  {
    name: 'exactly what is left',
    nodes: [node('a')],
    pods: { a: [pod('x', { requests: { cpu: '3500m' } })] },
    pod: pod('p', { requests: { cpu: '500m' } }),
    expect: 'a',
  },
  {
    name: 'a Pod that has ended takes nothing',
    nodes: [node('a')],
    pods: { a: [{ ...pod('x', { requests: { cpu: '4' } }), status: { phase: 'Succeeded' } } as Pod] },
    pod: pod('p', { requests: { cpu: '4' } }),
    expect: 'a',
  },
  {
    name: 'the number of Pods',
    nodes: [node('a', { allocatable: { pods: '1' } })],
    pods: { a: [pod('x')] },
    pod: pod('p'),
    expect: '0/1 nodes are available: 1 Too many pods.',
  },
  {
    name: 'a resource that no node has',
    nodes: [node('a')],
    pod: pod('p', { requests: { 'example.com/gpu': '1' } }),
    expect: '0/1 nodes are available: 1 Insufficient example.com/gpu.',
  },
  {
    name: 'init containers count for the most at one time',
    nodes: [node('a')],
    pod: pod('p', {
      spec: {
        initContainers: [
          { name: 's', restartPolicy: 'Always', resources: { requests: { cpu: '2' } } },
          { name: 'i', resources: { requests: { cpu: '3' } } },
        ],
      },
    }),
    expect: '0/1 nodes are available: 1 Insufficient cpu.',
  },
  {
    name: 'cordoned',
    nodes: [node('a', { spec: { unschedulable: true } })],
    pod: pod('p'),
    expect: '0/1 nodes are available: 1 node(s) were unschedulable.',
  },
  {
    name: 'cordoned, and put up with',
    nodes: [node('a', { spec: { unschedulable: true } })],
    pod: pod('p', {
      spec: { tolerations: [{ key: 'node.kubernetes.io/unschedulable', operator: 'Exists' }] },
    }),
    expect: 'a',
  },
  {
    name: 'taints',
    nodes: [
      node('a', { spec: { taints: [taint('dedicated', 'NoSchedule', 'db')] } }),
      node('b', { spec: { taints: [taint('node.kubernetes.io/unreachable', 'NoExecute')] } }),
    ],
    pod: pod('p'),
    expect:
      '0/2 nodes are available: 1 node(s) had untolerated taint {dedicated: db}, 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }.',
  },
  {
    name: 'a toleration of another value is none',
    nodes: [node('a', { spec: { taints: [taint('dedicated', 'NoSchedule', 'db')] } })],
    pod: pod('p', { spec: { tolerations: [{ key: 'dedicated', value: 'web' }] } }),
    expect: '0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}.',
  },
  {
    name: 'a toleration of the value, of any effect',
    nodes: [node('a', { spec: { taints: [taint('dedicated', 'NoSchedule', 'db')] } })],
    pod: pod('p', { spec: { tolerations: [{ key: 'dedicated', value: 'db' }] } }),
    expect: 'a',
  },
  {
    name: 'PreferNoSchedule only makes it worse',
    nodes: [node('a', { spec: { taints: [taint('meh', 'PreferNoSchedule')] } }), node('b')],
    pod: pod('p'),
    expect: 'b',
  },
  {
    name: 'nodeSelector',
    nodes: [node('a', { labels: { disk: 'ssd' } }), node('b')],
    pod: pod('p', { spec: { nodeSelector: { disk: 'ssd' } } }),
    expect: 'a',
  },
  {
    name: 'nodeSelector that no node meets',
    nodes: ab(),
    pod: pod('p', { spec: { nodeSelector: { disk: 'ssd' } } }),
    expect: "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
  },
  ...(
    [
      ['In', { key: 'n', operator: 'In', values: ['1', '5'] }, 'b'],
      ['NotIn', { key: 'n', operator: 'NotIn', values: ['5'] }, 'a'],
      ['Exists', { key: 'n', operator: 'Exists' }, 'b'],
      ['DoesNotExist', { key: 'n', operator: 'DoesNotExist' }, 'a'],
      ['Gt', { key: 'n', operator: 'Gt', values: ['4'] }, 'b'],
      ['Lt', { key: 'n', operator: 'Lt', values: ['6'] }, 'b'],
    ] as const
  ).map(([name, expression, expect]) => ({
    name: `node affinity ${name}`,
    nodes: [node('a'), node('b', { labels: { n: '5' } })],
    pod: pod('p', { spec: expressions(expression) }),
    expect,
  })),
  {
    name: 'node affinity: one of several terms, by field',
    nodes: ab(),
    pod: pod('p', {
      spec: nodeTerms(
        { matchExpressions: [{ key: 'none', operator: 'Exists' }] },
        { matchFields: [{ key: 'metadata.name', operator: 'In', values: ['b'] }] },
      ),
    }),
    expect: 'b',
  },
  {
    name: 'preferred node affinity',
    nodes: [node('a'), node('b', { labels: { disk: 'ssd' } })],
    pods: { b: [pod('x', { requests: { cpu: '1' } })] },
    pod: pod('p', {
      spec: {
        affinity: {
          nodeAffinity: {
            preferredDuringSchedulingIgnoredDuringExecution: [
              { weight: 1, preference: { matchExpressions: [{ key: 'disk', operator: 'Exists' }] } },
            ],
          },
        },
      },
    }),
    expect: 'b',
  },
  {
    name: 'a host port that is taken',
    nodes: ab(),
    pods: { a: [pod('x', { spec: port(80) })] },
    pod: pod('p', { spec: port(80) }),
    expect: 'b',
  },
  {
    name: 'the same port of another address or protocol is free',
    nodes: [node('a')],
    pods: {
      a: [
        pod('x', { spec: port(80, { hostIP: '127.0.0.1' }) }),
        pod('y', { spec: port(53, { protocol: 'UDP' }) }),
      ],
    },
    pod: pod('p', {
      spec: {
        containers: [
          {
            name: 'a',
            ports: [
              { containerPort: 1, hostPort: 80, hostIP: '127.0.0.2', protocol: 'TCP' },
              { containerPort: 2, hostPort: 53, protocol: 'TCP' },
            ],
          },
        ],
      },
    }),
    expect: 'a',
  },
  {
    name: 'a port of all addresses clashes with one of a single one',
    nodes: [node('a')],
    pods: { a: [pod('x', { spec: port(80, { hostIP: '127.0.0.1' }) })] },
    pod: pod('p', { spec: port(80) }),
    expect: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
  },
  {
    name: 'pod affinity by zone',
    nodes: zones(),
    pods: { c: [pod('x', { labels: web })] },
    pod: pod('p', { spec: required('podAffinity', term('web', 'zone')) }),
    expect: 'c',
  },
  {
    name: 'pod affinity to nobody',
    nodes: ab(),
    pod: pod('p', { spec: required('podAffinity', term('web')) }),
    expect: "0/2 nodes are available: 2 node(s) didn't match pod affinity rules.",
  },
  {
    name: 'the first of a group that wants to be together',
    nodes: [node('a')],
    pod: pod('p', { labels: web, spec: required('podAffinity', term('web')) }),
    expect: 'a',
  },
  {
    name: 'pod affinity means its own namespace, unless told',
    nodes: ab(),
    pods: { a: [pod('x', { labels: web, namespace: 'other' })] },
    pod: pod('p', { spec: required('podAffinity', term('web')) }),
    expect: "0/2 nodes are available: 2 node(s) didn't match pod affinity rules.",
  },
  {
    name: 'pod affinity to another namespace by its labels',
    nodes: ab(),
    pods: { b: [pod('x', { labels: web, namespace: 'other' })] },
    pod: pod('p', {
      spec: required(
        'podAffinity',
        term('web', hostname, { namespaceSelector: { matchLabels: { name: 'other' } } }),
      ),
    }),
    expect: 'b',
  },
  {
    name: 'anti-affinity',
    nodes: ab(),
    pods: { a: [pod('x', { labels: web })] },
    pod: pod('p', { spec: required('podAntiAffinity', term('web')) }),
    expect: 'b',
  },
  {
    name: 'anti-affinity everywhere',
    nodes: [node('a')],
    pods: { a: [pod('x', { labels: web })] },
    pod: pod('p', { spec: required('podAntiAffinity', term('web')) }),
    expect: "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.",
  },
  {
    name: 'anti-affinity of those who are there',
    nodes: zones(),
    pods: { a: [pod('x', { spec: required('podAntiAffinity', term('web', 'zone')) })] },
    pod: pod('p', { labels: web }),
    expect: 'c',
  },
  {
    name: 'anti-affinity of those who are there, everywhere',
    nodes: [node('a')],
    pods: { a: [pod('x', { spec: required('podAntiAffinity', term('web')) })] },
    pod: pod('p', { labels: web }),
    expect: "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.",
  },
  {
    name: 'preferred anti-affinity',
    nodes: ab(),
    pods: { a: [pod('x', { labels: web })], b: [pod('y', { requests: { cpu: '1' } })] },
    pod: pod('p', {
      spec: {
        affinity: {
          podAntiAffinity: {
            preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: term('web') }],
          },
        },
      },
    }),
    expect: 'b',
  },
  {
    name: 'spreading: one more would be too many',
    nodes: ab(),
    pods: { a: [pod('x', { labels: web })] },
    pod: pod('p', { labels: web, spec: { ...spread(1), nodeSelector: {} } }),
    expect: 'b',
  },
  {
    name: 'spreading counts where the Pod cannot go for taints, not where its selector forbids',
    nodes: [node('a'), node('b', { spec: { taints: [taint('x')] } })],
    pods: { a: [pod('x', { labels: web })] },
    pod: pod('p', { labels: web, spec: spread(1) }),
    expect:
      "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) had untolerated taint {x: }.",
  },
  {
    name: 'spreading: nodeTaintsPolicy Honor leaves tainted nodes out',
    nodes: [node('a'), node('b', { spec: { taints: [taint('x')] } })],
    pods: { a: [pod('x', { labels: web })] },
    pod: pod('p', { labels: web, spec: spread(1, { nodeTaintsPolicy: 'Honor' }) }),
    expect: 'a',
  },
  {
    name: 'spreading: minDomains',
    nodes: [node('a')],
    pods: { a: [pod('x', { labels: web })] },
    pod: pod('p', { labels: web, spec: spread(1, { minDomains: 2 }) }),
    expect: "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints.",
  },
  {
    name: 'spreading: a node without the label',
    nodes: [node('a')],
    pod: pod('p', { labels: web, spec: spread(1, { topologyKey: 'zone' }) }),
    expect:
      "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label).",
  },
  {
    name: 'spreading as a wish',
    nodes: ab(),
    pods: {
      a: [pod('x', { labels: web }), pod('y', { labels: web })],
      b: [pod('z', { requests: { cpu: '1' } })],
    },
    pod: pod('p', { labels: web, spec: spread(1, { whenUnsatisfiable: 'ScheduleAnyway' }) }),
    expect: 'b',
  },
  {
    name: 'the node with most left',
    nodes: [node('a'), node('b', { allocatable: { cpu: '8', memory: '16Gi' } })],
    pod: pod('p', { requests: { cpu: '1', memory: '1Gi' } }),
    expect: 'b',
  },
  {
    name: 'Pods of one owner apart, though there is more left beside',
    nodes: ab(),
    pods: {
      a: [pod('x', { owner: 'rs' })],
      b: [pod('y', { requests: { cpu: '1', memory: '1Gi' } })],
    },
    pod: pod('p', { owner: 'rs' }),
    expect: 'b',
  },
  {
    name: 'among equals the one with fewer Pods, then by name',
    nodes: [node('b'), node('a')],
    pod: pod('p'),
    expect: 'a',
  },
];

for (const { name, nodes, pods, pod, expect } of cases)
  t.test(name, async (t) => {
    const placed = place(pod, cluster(nodes, pods));
    t.equal('node' in placed ? placed.node : placed.message, expect);
  });

t.test('best-effort Pods spread evenly', async (t) => {
  const state = cluster([node('a'), node('b'), node('c')]);
  for (let at = 0; at < 30; at++) {
    const next = pod(`p${at}`);
    const placed = place(next, state);
    state.assume(next, 'node' in placed ? placed.node : '');
  }
  t.same(
    [...state.nodes.values()].map(({ pods }) => pods.size),
    [10, 10, 10],
  );
  state.clear();
});

t.test('sums follow the Pods, whatever comes first', async (t) => {
  const state = cluster([]);
  const early = pod('early', { requests: { cpu: '1' } });
  state.setPod({ ...early, spec: { ...early.spec, nodeName: 'a' } });
  state.setNode(node('a'));
  t.equal(state.nodes.get('a')?.requested.cpu, 1000, 'the Pod was there before the node was seen');
  const other = pod('other', { requests: { cpu: '2' } });
  state.assume(other, 'a');
  state.assume(other, 'a');
  t.equal(state.nodes.get('a')?.requested.cpu, 3000);
  state.setPod({ ...other, spec: { ...other.spec, nodeName: 'a' } });
  t.notOk(state.isAssumed(other.metadata.uid));
  t.equal(state.nodes.get('a')?.requested.cpu, 3000, 'seen where it was assumed: counted once');
  state.removeNode('a');
  state.setNode(node('a'));
  t.equal(state.nodes.get('a')?.requested.cpu, 3000, 'a node that comes back');
  state.removePod(early.metadata.uid);
  state.removePod(other.metadata.uid);
  t.equal(state.nodes.get('a')?.requested.cpu, 0);
});

t.test('a thousand nodes with thirty Pods each', async (t) => {
  const nodes = Array.from({ length: 1000 }, (_, at) => node(`n${at}`, { labels: { zone: `${at % 3}` } }));
  const state = cluster(nodes);
  for (const { metadata } of nodes)
    for (let at = 0; at < 30; at++) {
      const there = pod(`${metadata.name}-${at}`, { labels: { app: `a${at % 5}` } });
      state.setPod({ ...there, spec: { ...there.spec, nodeName: metadata.name } });
    }
  const time = (spec: object): number => {
    const began = performance.now();
    for (let at = 0; at < 10; at++) t.ok('node' in place(pod('p', { labels: { app: 'a1' }, spec }), state));
    return (performance.now() - began) / 10;
  };
  const plain = time({});
  const related = time(required('podAffinity', term('a1', 'zone')));
  t.comment(`a placement: ${plain.toFixed(1)} ms; with pod affinity ${related.toFixed(1)} ms`);
});
