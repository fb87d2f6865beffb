// What a node may do: verb × resource × its own or another's, and what it may write.
import t from 'tap';
import type { AdmitRequest } from '../../../lib/api/admission.ts';
import type { Resource } from '../../../lib/api/types.ts';
import type { Attributes, Verb } from '../../../lib/apiserver/access/access.ts';
import { type Graph, mayNode } from '../../../lib/apiserver/access/node-authorizer.ts';
import { restrictNodes } from '../../../lib/apiserver/access/node-restriction.ts';

/** Pod "mine" is bound to node two, "theirs" to one, "nobodys" to none; "mine" refers to "mine-conf" of default. */
const graph: Graph = {
  podNode: async ({ name }) => ({ mine: 'two', theirs: 'one', nobodys: '' })[name],
  isReferred: async (node, { namespace, name }) =>
    node === 'two' && namespace === 'default' && name === 'mine-conf',
};
const verbs: readonly Verb[] = [
  ...(['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection'] as const),
];

/** Each row: what is asked about, and the verbs that node two may use; all others must be refused. */
const rows: readonly [about: Omit<Attributes, 'verb'>, allowed: readonly Verb[]][] = [
  [{ resource: 'nodes', name: 'two' }, ['get', 'list', 'watch', 'update', 'patch']],
  [{ resource: 'nodes', name: 'one' }, ['get', 'list', 'watch']],
  [{ resource: 'nodes' }, ['get', 'list', 'watch']],
  [{ resource: 'nodes', name: 'two', subresource: 'status' }, ['get', 'list', 'watch', 'update', 'patch']],
  [{ resource: 'nodes', name: 'one', subresource: 'status' }, ['get', 'list', 'watch']],
  [
    { resource: 'leases', namespace: 'kube-node-lease', name: 'two' },
    ['get', 'create', 'update', 'patch', 'delete'],
  ],
  [{ resource: 'leases', namespace: 'kube-node-lease', name: 'one' }, ['create']],
  [{ resource: 'leases', namespace: 'kube-node-lease' }, ['create']],
  [{ resource: 'leases', namespace: 'kube-system', name: 'two' }, []],
  [{ resource: 'leases', name: 'two' }, []],
  [{ resource: 'pods', namespace: 'default', name: 'mine' }, ['get', 'create', 'patch', 'delete']],
  [{ resource: 'pods', namespace: 'default', name: 'theirs' }, ['create']],
  [{ resource: 'pods', namespace: 'default', name: 'nobodys' }, ['create']],
  [{ resource: 'pods', namespace: 'default', name: 'absent' }, ['create']],
  [
    { resource: 'pods', namespace: 'default', name: 'mine', subresource: 'status' },
    ['get', 'create', 'update', 'patch', 'delete'],
  ],
  [{ resource: 'pods', namespace: 'default', name: 'theirs', subresource: 'status' }, ['create']],
  [{ resource: 'pods' }, ['create']],
  [{ resource: 'pods', fieldSelector: 'spec.nodeName=two' }, ['list', 'watch', 'create']],
  [
    { resource: 'pods', fieldSelector: 'status.phase=Running,spec.nodeName=two' },
    ['list', 'watch', 'create'],
  ],
  [{ resource: 'pods', fieldSelector: 'spec.nodeName=one' }, ['create']],
  [{ resource: 'pods', fieldSelector: 'spec.nodeName!=two' }, ['create']],
  [{ resource: 'pods', fieldSelector: 'spec.nodeName=twofold' }, ['create']],
  [{ resource: 'events', namespace: 'default', name: 'e' }, ['create', 'update', 'patch']],
  [{ resource: 'events' }, ['create', 'update', 'patch']],
  [{ resource: 'namespaces', name: 'default' }, []],
  ...(['configmaps', 'secrets'] as const).flatMap((resource): [Omit<Attributes, 'verb'>, Verb[]][] => [
    [{ resource, namespace: 'default', name: 'mine-conf' }, ['get']],
    [{ resource, namespace: 'other', name: 'mine-conf' }, []],
    [{ resource, namespace: 'default', name: 'other' }, []],
    [{ resource, namespace: 'default', fieldSelector: 'metadata.name=mine-conf' }, ['list', 'watch']],
    [{ resource, namespace: 'default', fieldSelector: 'metadata.name=other' }, []],
    [{ resource, namespace: 'default', fieldSelector: 'metadata.name!=mine-conf' }, []],
    [{ resource, namespace: 'default', fieldSelector: 'metadata.name=mine-conf,type=x' }, []],
    [{ resource, fieldSelector: 'metadata.name=mine-conf' }, []],
    [{ resource, name: 'mine-conf' }, []],
    [{ resource, namespace: 'default' }, []],
    [{ resource }, []],
  ]),
];

for (const [about, allowed] of rows) {
  const { resource, subresource, namespace, name, fieldSelector } = about;
  const title = `${resource}${subresource ? `/${subresource}` : ''} ${[namespace, name, fieldSelector].filter(Boolean).join(' ') || 'all'}`;
  t.test(title, async (t) => {
    for (const verb of verbs)
      t.equal(await mayNode('two', { ...about, verb }, graph), allowed.includes(verb), verb);
  });
}

type Metadata = Record<string, unknown>;
const node = (name: string, metadata: Metadata = {}, spec: object = {}) => ({
  metadata: { name, ...metadata },
  spec,
});
const mirror = { 'kubernetes.io/config.mirror': 'c0ffee' };
const pod = (metadata: Metadata, spec: object = {}) => ({
  metadata: { name: 'p', namespace: 'default', ...metadata },
  spec: { nodeName: 'two', containers: [{ name: 'a', image: 'i' }], ...spec },
});
const event = (host: string) => ({ metadata: { name: 'e', namespace: 'default' }, source: { host } });
const cidrs = { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24'] };
const twoUser = { name: 'system:node:two', groups: ['system:nodes'] };
const admin = { name: 'system:admin', groups: ['system:masters'] };

interface Case {
  readonly name: string;
  readonly resource: Resource;
  readonly object: object;
  readonly old?: object;
  readonly user?: AdmitRequest['user'];
  /** What the refusal says; absent: it is let pass. */
  readonly refused?: RegExp;
}

const writes: readonly Case[] = [
  { name: 'its own Node is made', resource: 'nodes', object: node('two') },
  {
    name: "another's Node is made",
    resource: 'nodes',
    object: node('one'),
    refused: /only its own Node "two"/,
  },
  {
    name: 'it taints itself',
    resource: 'nodes',
    object: node('two', {}, { taints: [{ key: 'a', effect: 'NoSchedule' }] }),
    old: node('two'),
    refused: /taints/,
  },
  {
    name: 'it takes its taint away',
    resource: 'nodes',
    object: node('two'),
    old: node('two', {}, { taints: [{ key: 'a', effect: 'NoSchedule' }] }),
    refused: /taints/,
  },
  {
    name: 'it makes itself schedulable',
    resource: 'nodes',
    object: node('two'),
    old: node('two', {}, { unschedulable: true }),
    refused: /taints and what else/,
  },
  {
    name: 'labels of its own',
    resource: 'nodes',
    object: node('two', {
      labels: {
        'kubernetes.io/hostname': 'x',
        'example.com/disk': 'ssd',
        rack: '7',
        'node.kubernetes.io/x': '1',
      },
    }),
    old: node('two'),
  },
  ...['node-restriction.kubernetes.io/a', 'node-role.kubernetes.io/control-plane', 'a.k8s.io/b'].map(
    (label) => ({
      name: `label ${label}`,
      resource: 'nodes' as const,
      object: node('two', { labels: { [label]: '1' } }),
      old: node('two'),
      refused: /may not set it on itself/,
    }),
  ),
  {
    name: "it takes an administrator's label away",
    resource: 'nodes',
    object: node('two'),
    old: node('two', { labels: { 'node-role.kubernetes.io/x': '1' } }),
    refused: /may not set it/,
  },
  {
    name: 'annotations of its own',
    resource: 'nodes',
    object: node('two', { annotations: { 'network.podwire.io/a': 'b' } }),
    old: node('two'),
  },
  {
    name: 'an owner for its Node',
    resource: 'nodes',
    object: node('two', { ownerReferences: [{ name: 'x' }] }),
    old: node('two'),
    refused: /ownerReferences/,
  },
  {
    name: 'a finalizer, so that nobody could remove it',
    resource: 'nodes',
    object: node('two', { finalizers: ['a/b'] }),
    old: node('two'),
    refused: /finalizers/,
  },
  {
    name: 'a mirror that would stay for ever',
    resource: 'pods',
    object: pod({ annotations: mirror, finalizers: ['a/b'] }),
    refused: /finalizers/,
  },
  {
    name: 'its subnet, given by hand, the first time',
    resource: 'nodes',
    object: node('two', {}, cidrs),
    old: node('two'),
  },
  {
    name: 'another subnet',
    resource: 'nodes',
    object: node('two', {}, { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.0/24'] }),
    old: node('two', {}, cidrs),
    refused: /podCIDR/,
  },
  { name: 'its Lease', resource: 'leases', object: node('two') },
  { name: "another's Lease", resource: 'leases', object: node('one'), refused: /own Lease "two"/ },
  {
    name: 'a mirror',
    resource: 'pods',
    object: pod({ annotations: mirror }, { serviceAccountName: 'default' }),
  },
  { name: 'a Pod', resource: 'pods', object: pod({}), refused: /only mirrors/ },
  {
    name: "a mirror of another's",
    resource: 'pods',
    object: pod({ annotations: mirror }, { nodeName: 'one' }),
    refused: /mirrors only of itself/,
  },
  {
    name: 'a mirror that would open a Secret',
    resource: 'pods',
    object: pod({ annotations: mirror }, { volumes: [{ name: 'v', secret: { secretName: 'podwire-ca' } }] }),
    refused: /may not refer/,
  },
  {
    name: 'a mirror that would open a ConfigMap by its environment',
    resource: 'pods',
    object: pod(
      { annotations: mirror },
      { containers: [{ name: 'a', image: 'i', envFrom: [{ configMapRef: { name: 'c' } }] }] },
    ),
    refused: /may not refer/,
  },
  {
    name: 'a mirror with a service account',
    resource: 'pods',
    object: pod({ annotations: mirror }, { serviceAccountName: 'a' }),
    refused: /serviceAccountName/,
  },
  {
    name: 'a remark on its Pod',
    resource: 'pods',
    object: pod({ annotations: { 'podwire.dev/start-steps': '[]' } }),
    old: pod({}),
  },
  {
    name: 'another image for its Pod',
    resource: 'pods',
    object: pod({}, { containers: [{ name: 'a', image: 'other' }] }),
    old: pod({}),
    refused: /only annotations/,
  },
  {
    name: 'a label on its Pod',
    resource: 'pods',
    object: pod({ labels: { app: 'web' } }),
    old: pod({}),
    refused: /only annotations/,
  },
  { name: 'an event of its own', resource: 'events', object: event('two') },
  {
    name: 'an event in the name of another',
    resource: 'events',
    object: event('one'),
    refused: /source.host/,
  },
  {
    name: "another's event made its own",
    resource: 'events',
    object: event('two'),
    old: event('one'),
    refused: /source.host/,
  },
  { name: 'an administrator taints', resource: 'nodes', object: node('one'), old: node('one'), user: admin },
  {
    name: 'an administrator passes a Pod off as a mirror',
    resource: 'pods',
    object: pod({ annotations: mirror }),
    user: admin,
    refused: /only the kubelet sets it/,
  },
  {
    name: 'the daemon itself makes mirrors',
    resource: 'pods',
    object: pod({ annotations: mirror }),
    user: undefined,
  },
];

for (const one of writes) {
  const { name, resource, object, old, refused } = one;
  t.test(name, async (t) => {
    const user = 'user' in one ? one.user : twoUser;
    const operation = old ? 'UPDATE' : 'CREATE';
    const request = {
      operation,
      resource,
      object,
      ...(old ? { old } : {}),
      user,
      dryRun: false,
    } as AdmitRequest;
    if (refused) t.throws(() => restrictNodes(request), { code: 'Forbidden', message: refused });
    else t.equal(restrictNodes(request), undefined);
  });
}
