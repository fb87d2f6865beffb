import t from 'tap';
import { Backoff } from '../../../lib/kubelet/backoff.ts';
import { containerConfig } from '../../../lib/kubelet/container-config.ts';
import { environment, needsPodIP } from '../../../lib/kubelet/environment.ts';
import { expand } from '../../../lib/kubelet/expansion.ts';
import { containerResources, podResources } from '../../../lib/kubelet/resources.ts';
import { podDns, podHostname } from '../../../lib/kubelet/sandbox-config.ts';
import { pod } from './fixtures.ts';

const expansions = [
  ['$(A)', 'x'],
  ['-$(A)-$(A)-', '-x-x-'],
  ['$(UNKNOWN)', '$(UNKNOWN)'],
  ['$$(A)', '$(A)'],
  ['$$$(A)', '$x'],
  ['$A $', '$A $'],
  ['$(A', '$(A'],
  ['$(echo $(A))', '$(echo $(A))'], // up to the first closing one, as in Go
] as const;
for (const [text, want] of expansions)
  t.test(`expand ${text}`, async (t) => t.equal(expand(text, new Map([['A', 'x']])), want));

const node = { cpu: 2, memory: 4 * 2 ** 30, ephemeralStorage: 10 * 2 ** 30 };
const facts = { hostIP: '192.0.2.1', podIPs: ['10.244.0.9'], node };
const noData = { configMaps: new Map(), secrets: new Map() };

t.test('environment: order, references, fields', async (t) => {
  const env = [
    { name: 'A', value: '1' },
    { name: 'B', value: '$(A)2' },
    { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
    { name: 'APP', valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
    { name: 'C', value: '$(LATER)' },
    { name: 'LATER', value: 'l' },
  ];
  const container = { name: 'a', env };
  const vars = environment(pod({}, { labels: { app: 'shop' } }), container, facts, noData);
  t.same(
    [...vars],
    [
      ['A', '1'],
      ['B', '12'],
      ['IP', '10.244.0.9'],
      ['APP', 'shop'],
      ['C', '$(LATER)'],
      ['LATER', 'l'],
    ],
  );
  t.ok(needsPodIP(container));
  t.notOk(needsPodIP({ name: 'b', env: [{ name: 'A', value: 'status.podIP' }] }));
});

const limits = { pidsLimit: 0, memory: 2 ** 30, leastOomScore: -1000, hugePages: [] };

const configOf = (spec: object, podSpec: object = {}) =>
  containerConfig({
    pod: pod({ containers: [{ name: 'a', image: 'i', ...spec }], ...podSpec }),
    container: { name: 'a', image: 'i', ...spec },
    attempt: 2,
    vars: environment(pod(podSpec), { name: 'a', ...spec }, facts, noData),
    volumes: new Map([['data', { path: '/v/data', readOnly: false }]]),
    logDir: '/logs',
    terminationLog: '/t',
    limits,
    seccompDir: '/etc/podwire/seccomp',
  });

t.test('container config: command, mounts, log', async (t) => {
  const config = configOf({
    command: ['echo', '$(X)'],
    env: [{ name: 'X', value: 'y' }],
    volumeMounts: [{ name: 'data', mountPath: '/data', readOnly: true, mountPropagation: 'HostToContainer' }],
  });
  t.match(config, { command: ['echo', 'y'], attempt: 2, logPath: '/logs/a/2.log' });
  t.same(config.mounts, [
    { hostPath: '/v/data', containerPath: '/data', readOnly: true, propagation: 'rslave' },
    { hostPath: '/t', containerPath: '/dev/termination-log', readOnly: false },
  ]);
});

const securities = [
  {
    name: 'defaults',
    spec: {},
    pod: {},
    want: { privileged: false, allowPrivilegeEscalation: true, seccomp: 'RuntimeDefault' },
  },
  {
    name: 'privileged',
    spec: { privileged: true },
    pod: {},
    want: { privileged: true, seccomp: 'Unconfined' },
  },
  {
    name: "a profile of the node's",
    spec: { seccompProfile: { type: 'Localhost', localhostProfile: 'a/b.json' } },
    pod: { supplementalGroupsPolicy: 'Strict', fsGroup: 7, supplementalGroups: [5] },
    want: {
      seccomp: 'Localhost',
      seccompPath: '/etc/podwire/seccomp/a/b.json',
      supplementalGroups: [5, 7],
      supplementalGroupsPolicy: 'Strict',
    },
  },
  {
    name: 'the container wins over the Pod',
    spec: { runAsUser: 5 },
    pod: { runAsUser: 7, runAsGroup: 9 },
    want: { runAsUser: 5, runAsGroup: 9 },
  },
];
for (const c of securities)
  t.test(`security: ${c.name}`, async (t) =>
    t.match(configOf({ securityContext: c.spec }, { securityContext: c.pod }).security, c.want),
  );

t.test('runAsNonRoot with user 0 is refused', async (t) => {
  t.throws(() => configOf({ securityContext: { runAsNonRoot: true, runAsUser: 0 } }), {
    code: 'CreateContainerConfigError',
  });
});

const oomScores: [name: string, resources: object, priorityClassName: string, want: number][] = [
  ['nothing asked for', {}, '', 1000],
  ['half the memory of the machine', { requests: { memory: '512Mi' } }, '', 500],
  ['a little', { requests: { memory: '1Mi' } }, '', 999],
  ['all of it', { requests: { memory: '1Gi' } }, '', 3],
  ['guaranteed', { requests: { cpu: 1, memory: '1Mi' }, limits: { cpu: 1, memory: '1Mi' } }, '', -997],
  ['the node itself needs it', {}, 'system-node-critical', -997],
];
for (const [name, resources, priorityClassName, want] of oomScores)
  t.test(`who is killed first: ${name}`, async (t) => {
    const a = { name: 'a', image: 'i', resources };
    t.equal(containerResources(pod({ containers: [a], priorityClassName }), a, limits).oomScoreAdj, want);
  });

t.test('huge pages: those asked for, none of other sizes', async (t) => {
  const pages = { 'hugepages-2Mi': '4Mi', memory: '64Mi' };
  const a = { name: 'a', image: 'i', resources: { limits: pages, requests: pages } };
  const one = pod({ containers: [a, { name: 'b', image: 'i' }] });
  const large = { ...limits, hugePages: ['hugepages-2Mi', 'hugepages-1Gi'] };
  t.same(containerResources(one, a, large).hugepageLimits, { '2MB': 4 << 20, '1GB': 0 });
  t.same(podResources(one, large).hugepageLimits, { '2MB': 4 << 20, '1GB': 0 });
  t.equal(podResources(one, limits).hugepageLimits, undefined, 'a machine without');
});

t.test("resources in the kernel's units", async (t) => {
  const a = { name: 'a', resources: { requests: { cpu: '250m' }, limits: { cpu: '500m', memory: '64Mi' } } };
  const b = { name: 'b', resources: { requests: { cpu: 1 } } };
  t.same(containerResources(pod({ containers: [a] }), a, limits), {
    cpuShares: 256,
    cpuQuota: 50_000,
    memoryLimit: 67_108_864,
    oomScoreAdj: 999,
  });
  t.same(containerResources(pod(), { name: 'c' }, { ...limits, pidsLimit: 100 }), {
    cpuShares: 2,
    pidsLimit: 100,
    oomScoreAdj: 1000,
  });
  t.same(podResources(pod({ containers: [a] }), limits), {
    cpuShares: 256,
    cpuQuota: 50_000,
    memoryLimit: 67_108_864,
  });
  t.same(podResources(pod({ containers: [a, b] }), limits), { cpuShares: 1280 });
  const cpu = (name: string, amount: string, more: object = {}) => ({
    name,
    image: 'i',
    resources: { requests: { cpu: amount } },
    ...more,
  });
  const sidecar = { restartPolicy: 'Always' };
  const hungry = [cpu('before', '3'), cpu('car', '1', sidecar), cpu('after', '2.5')];
  t.same(
    podResources(pod({ containers: [cpu('a', '1')], initContainers: hungry }), limits),
    { cpuShares: 3584 },
    'an init container beside the sidecar before it',
  );
  t.same(
    podResources(pod({ containers: [cpu('a', '3')], initContainers: hungry }), limits),
    { cpuShares: 4096 },
    'all that lasts',
  );
});

t.test('back-off doubles, has an end, and is forgotten after calm', async (t) => {
  const backoff = new Backoff(10_000, 300_000);
  t.equal(backoff.remaining('k', 0, 0), 0, 'the first time is free');
  backoff.next('k', 0, 0);
  t.equal(backoff.remaining('k', 1000, 1000), 10_000);
  t.equal(backoff.remaining('k', 1000, 11_000), 0);
  for (const want of [20_000, 40_000, 80_000, 160_000, 300_000, 300_000]) {
    backoff.next('k', 1000, 11_000);
    t.equal(backoff.delay('k'), want);
  }
  t.equal(backoff.remaining('k', 11_000 + 600_001, 11_000 + 600_001), 0, 'after ten calm minutes');
});

const dns = {
  node: { servers: ['192.0.2.53'], searches: ['lab'], options: [] },
  cluster: ['10.96.0.10'],
  clusterDomain: 'cluster.local',
};
const dnsCases = [
  {
    name: 'Default',
    spec: { dnsPolicy: 'Default' },
    want: { servers: ['192.0.2.53'], searches: ['lab'], options: [] },
  },
  {
    name: 'ClusterFirst',
    spec: { dnsPolicy: 'ClusterFirst' },
    want: {
      servers: ['10.96.0.10'],
      searches: ['default.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'lab'],
      options: ['ndots:5'],
    },
  },
  {
    name: "ClusterFirst with the node's network falls back",
    spec: { dnsPolicy: 'ClusterFirst', hostNetwork: true },
    want: { servers: ['192.0.2.53'], searches: ['lab'], options: [] },
  },
  {
    name: 'None with dnsConfig',
    spec: {
      dnsPolicy: 'None',
      dnsConfig: { nameservers: ['1.2.3.4'], searches: ['x'], options: [{ name: 'ndots', value: '2' }] },
    },
    want: { servers: ['1.2.3.4'], searches: ['x'], options: ['ndots:2'] },
  },
];
for (const c of dnsCases)
  t.test(`dns ${c.name}`, async (t) => t.same(podDns(pod(c.spec as object), dns), c.want));

t.test('the host name is at most 63 characters and ends well', async (t) => {
  t.equal(podHostname(pod()), 'web');
  t.equal(podHostname(pod({ hostname: 'other' })), 'other');
  t.equal(podHostname(pod({}, { name: `${'x'.repeat(62)}-y` })), 'x'.repeat(62));
});
