import { pino } from 'pino';
import t, { type Test } from 'tap';
import { EventRecorder } from '../../../lib/api/events.ts';
import { Informer } from '../../../lib/api/informer.ts';
import type { Node, Pod } from '../../../lib/api/types.ts';
import type { Registry } from '../../../lib/apiserver/registry/registry.ts';
import { PodQueue } from '../../../lib/scheduler/queue.ts';
import { Scheduler } from '../../../lib/scheduler/scheduler.ts';
import { until } from '../../until.ts';
import { manifest, startRegistry } from '../apiserver/fixtures.ts';

const log = pino({ level: 'silent' });
const tick = (ms = 10) => new Promise((resolve) => setTimeout(resolve, ms));

/** A registry whose Pods are scheduled, also at admission once `late` was called. */
async function world(
  t: Test,
): Promise<{ registry: Registry; lead: () => Promise<Scheduler>; stop: AbortController }> {
  const stop = new AbortController();
  let scheduler: Scheduler | undefined;
  const { registry, close } = await startRegistry({ admit: [(request) => scheduler?.admit(request)] });
  t.teardown(async () => {
    stop.abort();
    await close();
  });
  const lead = async (): Promise<Scheduler> => {
    const of = <R extends 'nodes' | 'pods' | 'namespaces'>(resource: R) =>
      new Informer({ client: registry, resource });
    const [nodes, pods, namespaces] = [of('nodes'), of('pods'), of('namespaces')];
    const events = new EventRecorder(registry, { component: 'default-scheduler' }, log);
    const bind: Registry['bind'] = (key, binding) => registry.bind(key, binding);
    const input = {
      client: registry,
      bind,
      nodes,
      pods,
      namespaces,
      events,
      log,
      signal: stop.signal,
      assumedMs: 300,
    };
    scheduler = new Scheduler(input);
    for (const each of [namespaces, nodes, pods]) await each.start(stop.signal);
    return scheduler;
  };
  return { registry, lead, stop };
}

const addNode = (registry: Registry, name: string, spec: object = {}): Promise<Node> =>
  registry.create('nodes', {
    metadata: { name },
    spec,
    status: { allocatable: { cpu: '2', memory: '4Gi', pods: '10' } },
  });
const cpu = (amount: string) => ({
  spec: { containers: [{ name: 'a', image: 'i', resources: { requests: { cpu: amount } } }] },
});
const get = (registry: Registry, name: string): Promise<Pod> =>
  registry.get('pods', { namespace: 'default', name });
t.test('a Pod has its node when it is created; the event follows', async (t) => {
  const { registry, lead } = await world(t);
  await addNode(registry, 'a');
  await addNode(registry, 'b');
  await lead();
  const pods = await Promise.all(['p', 'q'].map((name) => registry.create('pods', manifest(name))));
  t.same(pods.map(({ spec }) => spec.nodeName).sort(), ['a', 'b'], 'each counts for the next');
  t.ok(await until(async () => (await registry.list('events')).items.length === 2));
  t.match((await registry.list('events')).items[0], {
    reason: 'Scheduled',
    message: /^Successfully assigned default\/[pq] to [ab]$/,
    reportingComponent: 'default-scheduler',
  });
});

t.test('what nobody may touch is left alone', async (t) => {
  const { registry, lead } = await world(t);
  await addNode(registry, 'a');
  await lead();
  const foreign = await registry.create('pods', manifest('foreign', { spec: { schedulerName: 'mine' } }));
  t.equal(foreign.spec.nodeName, undefined);
  const named = await registry.create('pods', manifest('named', { spec: { nodeName: 'elsewhere' } }));
  t.equal(named.spec.nodeName, 'elsewhere');
  await registry.create('pods', manifest('dry'), { dryRun: true });
  await tick(50);
  t.equal((await get(registry, 'foreign')).spec.nodeName, undefined);
});

t.test('no place: told why; placed when there is one', async (t) => {
  const { registry, lead } = await world(t);
  await addNode(registry, 'a');
  const scheduler = await lead();
  await registry.create('pods', manifest('big', cpu('2')));
  const waits = await registry.create('pods', manifest('waits', cpu('1')));
  t.equal(waits.spec.nodeName, undefined);
  const condition = async () =>
    (await get(registry, 'waits')).status?.conditions?.find(({ type }) => type === 'PodScheduled');
  t.ok(await until(condition));
  const message = '0/1 nodes are available: 1 Insufficient cpu.';
  t.match(await condition(), { status: 'False', reason: 'Unschedulable', message });
  t.match(
    (await registry.list('events')).items.find(({ reason }) => reason === 'FailedScheduling'),
    {
      type: 'Warning',
      message,
      involvedObject: { name: 'waits' },
    },
  );
  t.equal(scheduler.waiting, 1);
  await registry.delete('pods', { namespace: 'default', name: 'big' }, { gracePeriodSeconds: 0 });
  t.ok(await until(async () => (await get(registry, 'waits')).spec.nodeName === 'a'));
  t.match(await condition(), { status: 'True' });
  t.equal(scheduler.waiting, 0);
});

for (const [name, change] of [
  ['a new node', (registry: Registry) => addNode(registry, 'b')],
  [
    'an uncordon',
    (registry: Registry) => registry.patch('nodes', { name: 'a' }, { spec: { unschedulable: null } }),
  ],
] as const)
  t.test(`wakes: ${name}`, async (t) => {
    const { registry, lead } = await world(t);
    await addNode(registry, 'a', { unschedulable: true });
    await lead();
    await registry.create('pods', manifest('p'));
    t.ok(await until(async () => (await get(registry, 'p')).status?.conditions?.length));
    await change(registry);
    t.ok(await until(async () => (await get(registry, 'p')).spec.nodeName));
  });

t.test('Pods that wait from before are placed at the start', async (t) => {
  const { registry, lead } = await world(t);
  await addNode(registry, 'a');
  for (let at = 0; at < 12; at++) await registry.create('pods', manifest(`p${at}`));
  await lead();
  const placed = async () => (await registry.list('pods')).items.filter(({ spec }) => spec.nodeName).length;
  t.ok(await until(async () => (await placed()) === 10), 'as many as there is room for');
  await tick(50);
  t.equal(await placed(), 10);
});

t.test('what could not be created takes nothing', async (t) => {
  const { registry, lead } = await world(t);
  await addNode(registry, 'a');
  await lead();
  await registry.create('pods', manifest('p', cpu('1')));
  await t.rejects(registry.create('pods', manifest('p', cpu('1'))), { code: 'AlreadyExists' });
  const next = await registry.create('pods', manifest('q', cpu('1')));
  t.ok(next.spec.nodeName ?? (await until(async () => (await get(registry, 'q')).spec.nodeName)));
});

t.test('queue: back-off doubles, a change during a try counts, order is kept', async (t) => {
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  let now = 0;
  const tries: string[] = [];
  let during = () => {};
  const queue = new PodQueue({
    work: async (name) => {
      tries.push(`${name}@${now}`);
      during();
      return false;
    },
    signal: stop.signal,
    now: () => now,
  });
  const at = async (time: number): Promise<string[]> => {
    now = time;
    queue.wake(); // also plans anew by the clock that was moved
    await tick(5);
    return tries.splice(0);
  };
  queue.add('p');
  queue.add('q');
  t.same(await at(0), ['p@0', 'q@0']);
  t.same(await at(900), [], 'in back-off');
  t.same(await at(1000), ['p@1000', 'q@1000']);
  t.same(await at(2500), []);
  t.same(await at(3000), ['p@3000', 'q@3000'], 'two seconds now');
  queue.remove('p');
  t.same(await at(7000), ['q@7000']);
  t.same(await at(15_000), ['q@15000']);
  t.same(await at(25_000), ['q@25000'], 'never more than ten');
  t.equal(queue.size, 1);
  during = () => queue.wake();
  now = 36_000;
  queue.wake();
  await tick(5);
  t.equal(tries.length, 1);
});
