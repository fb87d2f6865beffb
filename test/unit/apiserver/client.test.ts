// One behaviour, two ways: the registry in process, and the same over HTTP. Whoever uses Client need not know which.
import t, { type Test } from 'tap';
import type { Client, WatchEvent } from '../../../lib/api/client.ts';
import type { Event, Pod } from '../../../lib/api/types.ts';
import { manifest, onNode, startRegistry, startServer } from './fixtures.ts';

const statusOf = (phase: string): Pod['status'] => ({ phase: phase as 'Running', podIP: '10.0.0.1' });

/** What a watch told until `enough` events are there. */
async function collect(
  client: Client,
  options: { enough: number; resourceVersion?: string; labelSelector?: string; namespace?: string },
  meanwhile: () => Promise<unknown> = async () => {},
): Promise<string[]> {
  const stop = new AbortController();
  const told: string[] = [];
  const { enough, ...rest } = options;
  const reading = (async () => {
    for await (const event of client.watch('pods', { ...rest, signal: stop.signal })) {
      told.push(shown(event));
      if (told.length === enough) stop.abort();
    }
  })();
  reading.catch(() => {}); // it is awaited below
  while (options.resourceVersion === undefined && !told.includes('BOOKMARK'))
    await new Promise((resolve) => setTimeout(resolve, 2));
  await meanwhile();
  await reading;
  return told;
}
const shown = (event: WatchEvent<Pod>): string =>
  event.type === 'BOOKMARK' ? 'BOOKMARK' : `${event.type} ${event.object.metadata.name}`;

const behaviours: Record<string, (t: Test, client: Client) => Promise<void>> = {
  async 'create, get, list'(t, client) {
    const made = await client.create('pods', manifest('web'));
    t.match(made, {
      kind: 'Pod',
      metadata: {
        name: 'web',
        namespace: 'default',
        generation: 1,
        uid: /^[0-9a-f-]{36}$/,
        creationTimestamp: /^\d{4}-.*\dZ$/,
        resourceVersion: /^\d+$/,
      },
      spec: { restartPolicy: 'Always', nodeName: 'n1', containers: [{ imagePullPolicy: 'IfNotPresent' }] },
      status: { phase: 'Pending', qosClass: 'BestEffort' },
    });
    t.strictSame(await client.get('pods', { namespace: 'default', name: 'web' }), made);
    await client.create('pods', manifest('sys', { metadata: { namespace: 'kube-system' } }));
    t.equal((await client.list('pods')).items.length, 2);
    const { items, resourceVersion } = await client.list('pods', { namespace: 'default' });
    t.strictSame(items, [made]);
    t.ok(Number(resourceVersion) > Number(made.metadata.resourceVersion));
    t.strictSame(
      (await client.list('namespaces')).items.map(({ metadata }) => metadata.name),
      ['default', 'kube-node-lease', 'kube-public', 'kube-system'],
    );
  },
  async 'what cannot be created is refused, and not there'(t, client) {
    await client.create('pods', manifest('web'));
    await t.rejects(client.create('pods', manifest('web')), {
      code: 'AlreadyExists',
      message: 'pods "web" already exists',
    });
    await t.rejects(client.create('pods', manifest('../../etc')), {
      code: 'Invalid',
      message: /metadata.name: Invalid value: "..\/..\/etc"/,
    });
    await t.rejects(client.create('pods', manifest('x', { spec: { imagee: 1 } })), {
      code: 'BadRequest',
      message: /unknown field "spec.imagee"/,
    });
    await t.rejects(client.create('pods', manifest('x', { metadata: { namespace: 'nowhere' } })), {
      code: 'NotFound',
      message: 'namespaces "nowhere" not found',
    });
    await t.rejects(
      client.create('pods', manifest('x', { metadata: { namespace: 'default' } }), {
        namespace: 'kube-system',
      }),
      { code: 'BadRequest' },
    );
    await t.rejects(client.create('nodes', manifest('x')), {
      code: 'BadRequest',
      message: /Kind=Pod .* expected v1, Kind=Node/,
    });
    for (const junk of ['text', [1], 7]) await t.rejects(client.create('pods', junk), { code: 'BadRequest' });
    await t.rejects(client.create('pods', { metadata: 'x' }), { code: 'BadRequest' });
    await t.rejects(client.create('pods', {}), {
      code: 'Invalid',
      message: /metadata.name: Required value: name or generateName is required/,
    });
    const many = await client
      .create('pods', { metadata: { name: 'x' }, spec: { containers: [{}] } })
      .catch((error) => error);
    t.strictSame(
      many.status.details.causes.map(({ field }: { field: string }) => field),
      ['spec.containers[0].name', 'spec.containers[0].image'],
    );
    t.equal((await client.list('pods')).items.length, 1);
    await t.rejects(client.get('pods', { name: 'x' }), { code: 'NotFound', message: 'pods "x" not found' });
  },
  async 'a name is made where only its beginning is told'(t, client) {
    const a = await client.create('pods', manifest('', { metadata: { generateName: 'web-' } }));
    const b = await client.create('pods', manifest('', { metadata: { generateName: 'web-' } }));
    for (const { metadata } of [a, b]) t.match(metadata.name, /^web-[a-z0-9]{5}$/);
    t.not(a.metadata.name, b.metadata.name);
  },
  async 'what the system sets, a client cannot'(t, client) {
    const pod = await client.create('pods', {
      ...manifest('web', {
        metadata: {
          uid: 'mine',
          generation: 9,
          creationTimestamp: '2000-01-01T00:00:00Z',
          resourceVersion: '',
        },
      }),
      status: { phase: 'Running' },
    });
    t.not(pod.metadata.uid, 'mine');
    t.equal(pod.metadata.generation, 1);
    t.not(pod.metadata.creationTimestamp, '2000-01-01T00:00:00Z');
    t.equal(pod.status?.phase, 'Pending');
  },
  async 'update and status, each by itself'(t, client) {
    const made = await client.create('pods', manifest('web'));
    const image = {
      ...made,
      spec: { ...made.spec, containers: [{ ...made.spec.containers[0]!, image: 'nginx:2' }] },
    };
    const changed = await client.update('pods', { ...image, status: statusOf('Running') });
    t.match(changed, {
      metadata: { generation: 2, uid: made.metadata.uid },
      spec: { containers: [{ image: 'nginx:2' }] },
      status: { phase: 'Pending' },
    });
    await t.rejects(client.update('pods', image), {
      code: 'Conflict',
      message: /the object has been modified/,
    });
    const running = await client.updateStatus('pods', {
      ...changed,
      status: statusOf('Running'),
      spec: { containers: [] },
    });
    t.match(running, {
      metadata: { generation: 2 },
      spec: { containers: [{ image: 'nginx:2' }] },
      status: { phase: 'Running', podIP: '10.0.0.1' },
    });
    const again = await client.updateStatus('pods', running);
    t.equal(again.metadata.resourceVersion, running.metadata.resourceVersion, 'no change, no write');
    await t.rejects(client.updateStatus('pods', { ...running, status: { phase: 'Dancing' as 'Running' } }), {
      code: 'Invalid',
      message: /status.phase: Unsupported value/,
    });
    await t.rejects(client.update('pods', { ...running, spec: { ...running.spec, hostNetwork: true } }), {
      code: 'Invalid',
      message: /may not change fields.*changed: spec.hostNetwork/,
    });
    await t.rejects(client.update('pods', { ...running, metadata: { ...running.metadata, uid: 'other' } }), {
      code: 'Conflict',
      message: /UID/,
    });
    await t.rejects(client.update('pods', { ...running, metadata: { ...running.metadata, name: 'nope' } }), {
      code: 'NotFound',
    });
  },
  async patch(t, client) {
    await client.create('pods', manifest('web', { metadata: { labels: { a: '1', b: '2' } } }));
    const key = { namespace: 'default', name: 'web' };
    t.strictSame(
      (await client.patch('pods', key, { metadata: { labels: { a: null, c: '3' } } })).metadata.labels,
      { b: '2', c: '3' },
    );
    const strategic = { spec: { containers: [{ name: 'a', image: 'nginx:9' }] } };
    t.match(await client.patch('pods', key, strategic, { type: 'strategic' }), {
      spec: { containers: [{ name: 'a', image: 'nginx:9', imagePullPolicy: 'IfNotPresent' }] },
    });
    t.match(
      await client.patch('pods', key, [{ op: 'add', path: '/metadata/annotations', value: { x: 'y' } }], {
        type: 'json',
      }),
      { metadata: { annotations: { x: 'y' }, labels: { b: '2' } } },
    );
    const status = await client.patch(
      'pods',
      key,
      { status: { phase: 'Running' }, metadata: { labels: { z: 'no' } } },
      { subresource: 'status' },
    );
    t.match(status, { status: { phase: 'Running', qosClass: 'BestEffort' } });
    t.equal(status.metadata.labels?.z, undefined);
    t.equal(
      (await client.patch('pods', key, { status: { phase: 'Failed' } })).status?.phase,
      'Running',
      'status needs its subresource',
    );
    await t.rejects(client.patch('pods', key, { metadata: { resourceVersion: '1' } }), { code: 'Conflict' });
    await t.rejects(client.patch('pods', key, { spec: { nodeNam: 'x' } }), {
      code: 'BadRequest',
      message: /did you mean "nodeName"/,
    });
    await t.rejects(client.patch('pods', { name: 'nope' }, {}), { code: 'NotFound' });
  },
  async 'graceful deletion of a Pod'(t, client) {
    const key = { namespace: 'default', name: 'web' };
    const made = await client.create('pods', manifest('web'));
    await t.rejects(client.delete('pods', key, { preconditions: { uid: 'other' } }), { code: 'Conflict' });
    await t.rejects(client.delete('pods', key, { preconditions: { resourceVersion: '1' } }), {
      code: 'Conflict',
    });
    const marked = await client.delete('pods', key);
    t.match(marked.metadata, { deletionGracePeriodSeconds: 30, deletionTimestamp: /Z$/, generation: 2 });
    const shorter = await client.delete('pods', key, { gracePeriodSeconds: 5 });
    t.equal(shorter.metadata.deletionGracePeriodSeconds, 5);
    t.equal(
      Date.parse(marked.metadata.deletionTimestamp!) - Date.parse(shorter.metadata.deletionTimestamp!),
      25_000,
    );
    t.equal(
      (await client.delete('pods', key, { gracePeriodSeconds: 60 })).metadata.deletionGracePeriodSeconds,
      5,
      'never longer',
    );
    t.equal(
      (await client.delete('pods', key)).metadata.resourceVersion,
      shorter.metadata.resourceVersion,
      'nothing new',
    );
    t.match(
      await client.delete('pods', key, { gracePeriodSeconds: 0, preconditions: { uid: made.metadata.uid } }),
      { metadata: { name: 'web' } },
    );
    await t.rejects(client.get('pods', key), { code: 'NotFound' });
    await t.rejects(client.delete('pods', key), { code: 'NotFound' });
  },
  async selectors(t, client) {
    for (const [name, app] of [
      ['a', 'web'],
      ['b', 'web'],
      ['c', 'db'],
    ])
      await client.create('pods', manifest(name!, { metadata: { labels: { app } } }));
    const names = async (options: object): Promise<string[]> =>
      (await client.list('pods', options)).items.map(({ metadata }) => metadata.name);
    t.strictSame(await names({ labelSelector: 'app=web' }), ['a', 'b']);
    t.strictSame(await names({ labelSelector: 'app in (db),app' }), ['c']);
    t.strictSame(await names({ fieldSelector: 'metadata.name=b,spec.nodeName=n1' }), ['b']);
    await t.rejects(client.list('pods', { fieldSelector: 'spec.x=1' }), { code: 'BadRequest' });
    await t.rejects(client.list('pods', { labelSelector: 'a b' }), { code: 'BadRequest' });
  },
  async 'watch: what is there, a bookmark, what comes'(t, client) {
    await client.create('pods', manifest('a'));
    const told = await collect(client, { enough: 6 }, async () => {
      const b = await client.create('pods', manifest('b'));
      await client.updateStatus('pods', { ...b, status: statusOf('Running') });
      await client.create('events', { metadata: { name: 'e' }, involvedObject: { namespace: 'default' } });
      await client.delete('pods', { name: 'b' });
      await client.delete('pods', { name: 'b' }, { gracePeriodSeconds: 0 });
    });
    t.strictSame(told, ['ADDED a', 'BOOKMARK', 'ADDED b', 'MODIFIED b', 'MODIFIED b', 'DELETED b']);
  },
  async 'watch: from a revision on'(t, client) {
    const first = await client.create('pods', manifest('a'));
    await client.create('pods', manifest('b'));
    await client.create('pods', manifest('sys', { metadata: { namespace: 'kube-system' } }));
    const { resourceVersion } = first.metadata;
    t.strictSame(await collect(client, { enough: 2, resourceVersion }), ['ADDED b', 'ADDED sys']);
    t.strictSame(await collect(client, { enough: 1, resourceVersion, namespace: 'kube-system' }), [
      'ADDED sys',
    ]);
    await t.rejects(collect(client, { enough: 1, resourceVersion: '999999' }), { code: 'Expired' });
    await t.rejects(collect(client, { enough: 1, resourceVersion: 'x' }), { code: 'BadRequest' });
  },
  async 'watch: an object may enter and leave a selection'(t, client) {
    const told = await collect(client, { enough: 5, labelSelector: 'on' }, async () => {
      await client.create('pods', manifest('a'));
      const key = { namespace: 'default', name: 'a' };
      await client.patch('pods', key, { metadata: { labels: { on: '' } } });
      await client.patch('pods', key, { metadata: { labels: { x: '' } } });
      await client.patch('pods', key, { metadata: { labels: { on: null } } });
      await client.patch('pods', key, { metadata: { labels: { on: 'again' } } });
    });
    t.strictSame(told, ['BOOKMARK', 'ADDED a', 'MODIFIED a', 'DELETED a', 'ADDED a']);
  },
  async 'watch: ends when it is told to'(t, client) {
    const stop = new AbortController();
    const reading = (async () => {
      for await (const event of client.watch('nodes', { signal: stop.signal }))
        t.equal(event.type, 'BOOKMARK');
    })();
    await new Promise((resolve) => setTimeout(resolve, 20));
    stop.abort();
    await reading;
    for await (const _ of client.watch('nodes', { signal: stop.signal })) t.fail('it is aborted already');
  },
  async 'namespaces come and go with what they hold'(t, client) {
    await client.create('namespaces', { metadata: { name: 'team' } });
    t.match(await client.get('namespaces', { name: 'team' }), {
      status: { phase: 'Active' },
      metadata: { labels: { 'kubernetes.io/metadata.name': 'team' } },
    });
    await client.create('pods', manifest('a'), { namespace: 'team' });
    await client.create(
      'events',
      { metadata: { name: 'e' }, involvedObject: { namespace: 'team' } },
      { namespace: 'team' },
    );
    t.match(await client.delete('namespaces', { name: 'team' }), { status: { phase: 'Terminating' } });
    t.match(await client.get('pods', { namespace: 'team', name: 'a' }), {
      metadata: { deletionGracePeriodSeconds: 30 },
    });
    await t.rejects(client.create('pods', manifest('b'), { namespace: 'team' }), {
      code: 'Forbidden',
      message: /is being terminated/,
    });
    await client.delete('pods', { namespace: 'team', name: 'a' }, { gracePeriodSeconds: 0 });
    await t.rejects(client.get('namespaces', { name: 'team' }), { code: 'NotFound' });
    t.equal((await client.list('events', { namespace: 'team' })).items.length, 0);
    await client.create('namespaces', { metadata: { name: 'empty' } });
    await client.delete('namespaces', { name: 'empty' });
    await t.rejects(client.get('namespaces', { name: 'empty' }), { code: 'NotFound' });
    await t.rejects(client.delete('namespaces', { name: 'default' }), { code: 'Forbidden' });
  },
  async 'nodes and events'(t, client) {
    const node = await client.create('nodes', {
      metadata: { name: 'n1' },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    });
    t.equal(node.status?.conditions?.[0]?.status, 'True', 'a kubelet registers with its status');
    const event: Event = await client.create('events', {
      metadata: { generateName: 'web.' },
      involvedObject: { kind: 'Pod', name: 'web', namespace: 'default' },
      reason: 'Started',
    });
    t.match(await client.list('events', { fieldSelector: 'involvedObject.name=web,reason=Started' }), {
      items: [{ metadata: { name: event.metadata.name } }],
    });
    t.match(await client.patch('events', event.metadata, { count: 2 }), { count: 2 });
    await client.delete('nodes', { name: 'n1' });
    t.equal((await client.list('nodes')).items.length, 0);
  },
};

for (const [name, behave] of Object.entries(behaviours)) {
  t.test(`in process: ${name}`, async (t) => {
    const running = await startRegistry({ admit: onNode });
    t.teardown(() => running.close());
    await behave(t, running.registry);
  });
  t.test(`over HTTP: ${name}`, async (t) => {
    const running = await startServer({ admit: onNode });
    t.teardown(() => running.close());
    await behave(t, running.client);
  });
}
