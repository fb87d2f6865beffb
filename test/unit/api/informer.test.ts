import t from 'tap';
import { Informer } from '../../../lib/api/informer.ts';
import { ApiError } from '../../../lib/api/errors.ts';
import type { Client } from '../../../lib/api/client.ts';
import { startRegistry } from '../apiserver/fixtures.ts';

const tick = () => new Promise((resolve) => setTimeout(resolve, 10));

t.test('what is there, what changes, what goes', async (t) => {
  const { registry, close } = await startRegistry();
  const stop = new AbortController();
  t.teardown(async () => {
    stop.abort();
    await close();
  });
  await registry.create('nodes', { metadata: { name: 'a' } });
  const informer = new Informer({ client: registry, resource: 'nodes' });
  const told: string[] = [];
  informer.onChange((now, before) => {
    told.push(`${before ? 'had' : 'new'} ${now ? 'has' : 'gone'} ${(now ?? before)?.metadata.name}`);
  });
  await informer.start(stop.signal);
  t.same(told.splice(0), ['new has a']);
  await registry.create('nodes', { metadata: { name: 'b' } });
  await registry.patch('nodes', { name: 'a' }, { spec: { unschedulable: true } });
  await tick();
  t.same(told.splice(0), ['new has b', 'had has a']);
  t.equal(informer.get('a')?.spec?.unschedulable, true);
  await registry.delete('nodes', { name: 'b' });
  await tick();
  t.same(told, ['had gone b']);
  t.equal(informer.size, 1);
});

t.test('after a watch that broke, a list tells what was missed', async (t) => {
  const { registry, close } = await startRegistry();
  const stop = new AbortController();
  t.teardown(async () => {
    stop.abort();
    await close();
  });
  const first = await registry.create('nodes', { metadata: { name: 'a' } });
  await registry.create('nodes', { metadata: { name: 'b' } });
  let broken = 0;
  const client = {
    list: registry.list.bind(registry),
    watch: (resource: 'nodes', options: Parameters<Client['watch']>[1]) => {
      if (broken++ > 0) return registry.watch(resource, options);
      return (async function* (): AsyncGenerator<never> {
        // Behind the watch's back: a is another object of that name, b is gone.
        await registry.delete('nodes', { name: 'a' });
        await registry.delete('nodes', { name: 'b' });
        await registry.create('nodes', { metadata: { name: 'a' } });
        yield* [];
        throw new ApiError('Expired', 'too old');
      })();
    },
  } as unknown as Client;
  const told: string[] = [];
  const informer = new Informer({ client, resource: 'nodes' });
  await informer.start(stop.signal);
  informer.onChange((now, before) => {
    told.push(`${before ? 'had' : 'new'} ${now ? 'has' : 'gone'} ${(now ?? before)?.metadata.name}`);
  });
  await tick();
  t.same(told, ['had gone a', 'new has a', 'had gone b']);
  t.not(informer.get('a')?.metadata.uid, first.metadata.uid);
});
