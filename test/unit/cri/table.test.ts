// What is known of a container runtime's containers: by its events, by looking, and when it does not answer.
import t, { type Test } from 'tap';
import type { RuntimeEvent } from '../../../lib/container/cri.ts';
import { CriConnection } from '../../../lib/cri/connection.ts';
import { CriTable } from '../../../lib/cri/table.ts';
import { until } from '../../until.ts';
import { FakeRuntime } from './fake-runtime.ts';

async function tableOf(t: Test, fake: FakeRuntime) {
  const connection = await CriConnection.open(`unix://${fake.socket}`);
  const events: RuntimeEvent[] = [];
  const troubles: Array<string | undefined> = [];
  const table = new CriTable({
    connection,
    owner: '/',
    onEvent: (event) => events.push(event),
    onTrouble: (why) => troubles.push(why),
  });
  t.teardown(() => {
    table.close();
    connection.close();
  });
  await table.start();
  return { table, events, troubles };
}

t.test('what is there at the start', async (t) => {
  const fake = await FakeRuntime.start(t, { events: false });
  fake.sandboxes.set('s1', 'SANDBOX_READY');
  fake.containers.set('c1', { state: 'CONTAINER_RUNNING' });
  const { table, events } = await tableOf(t, fake);
  t.match(table.sandboxes(), [
    {
      id: 's1',
      uid: 'u1',
      state: 'ready',
      ips: ['10.0.0.2', 'fd00::2'],
      createdAt: '2023-11-14T22:13:20.123456789Z',
    },
  ]);
  t.match(table.containers(), [
    { id: 'c1', sandboxId: 's1', podUid: 'u1', state: 'running', imageId: 'sha256:abc', logPath: '/log' },
  ]);
  t.same(events, []);
});

for (const { name, events: hasEvents } of [
  { name: 'without events: by looking every second', events: false },
  { name: 'with events: without looking', events: true },
])
  t.test(`an exit is told, ${name}`, async (t) => {
    const fake = await FakeRuntime.start(t, { events: hasEvents });
    fake.sandboxes.set('s1', 'SANDBOX_READY');
    fake.containers.set('c1', { state: 'CONTAINER_RUNNING' });
    const { table, events } = await tableOf(t, fake);
    if (hasEvents) t.ok(await until(() => fake.isListenedTo), 'the stream of events stands');
    fake.calls.length = 0;
    fake.containers.set('c1', { state: 'CONTAINER_EXITED', exitCode: 3, reason: 'Error' });
    fake.event('c1');
    t.ok(await until(() => events.length > 0));
    t.same(events, [{ type: 'ContainerDied', podUid: 'u1', id: 'c1' }]);
    t.equal(fake.calls.includes('ListContainers'), !hasEvents);
    t.match(table.container('c1'), { state: 'exited', exitCode: 3, reason: 'Error' });
    if (!hasEvents) {
      fake.sandboxes.set('s1', 'SANDBOX_NOTREADY');
      fake.containers.delete('c1');
      await until(() => events.length >= 3);
      t.same(
        events.slice(1).map(({ type }) => type),
        ['SandboxChanged', 'ContainerDied'],
      );
      t.same(table.containers(), []);
    }
  });

t.test('memory that ran out is heard of after the exit', async (t) => {
  const fake = await FakeRuntime.start(t, { events: false });
  fake.sandboxes.set('s1', 'SANDBOX_READY');
  fake.containers.set('c1', { state: 'CONTAINER_EXITED', exitCode: 137, reason: 'Error' });
  fake.beforeStatus = () =>
    fake.containers.set('c1', { state: 'CONTAINER_EXITED', exitCode: 137, reason: 'OOMKilled' });
  const { table } = await tableOf(t, fake);
  t.match(table.container('c1'), { reason: 'OOMKilled' });
});

t.test('an answer that was under way does not undo a change of ours', async (t) => {
  const fake = await FakeRuntime.start(t, { events: false });
  fake.sandboxes.set('s1', 'SANDBOX_READY');
  fake.containers.set('c1', { state: 'CONTAINER_RUNNING' });
  const { table } = await tableOf(t, fake);
  const look = table.look('c1');
  table.dropContainer('c1');
  await look;
  t.same(table.containers(), []);
});

t.test('a runtime that is away is told once, and that it is back', async (t) => {
  const fake = await FakeRuntime.start(t, { events: false });
  fake.sandboxes.set('s1', 'SANDBOX_READY');
  const { table, troubles } = await tableOf(t, fake);
  fake.stop();
  await until(() => troubles.length > 0);
  t.match(troubles[0], /no container runtime answers at .*cri\.sock/);
  t.equal(table.sandboxes().length, 1, 'what was known stays known');
  await fake.listen({ events: false });
  await until(() => troubles.length > 1);
  t.equal(troubles[1], undefined);
  t.equal(troubles.length, 2);
});
