// Pulling from a real registry that asks who one is: logins, indexes of several platforms, digests, giving up.
import { readdirSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { createImageStore } from '../../../lib/container/image/store.ts';
import { until } from './fixture.ts';
import { noRegistry, startRegistry, user } from './registry.ts';

if (noRegistry) t.comment(`skipped: ${noRegistry}`);
t.setTimeout(60_000);

const wrong = { username: 'alice', password: 'wrong' };

t.test('a registry with a login', { skip: noRegistry }, async (t) => {
  const registry = await startRegistry(t);
  const { host } = registry;
  const digests = {
    one: await registry.push('team/app:1', { Cmd: ['one'] }),
    two: await registry.push('team/app:2', { Cmd: ['two'] }),
  };
  let stores = 0;
  const fresh = (t: { testdir(): string }) => {
    const images = join(t.testdir(), `images-${++stores}`);
    return {
      store: createImageStore({ paths: { images } }),
      staging: () => readdirSync(join(images, 'staging')),
    };
  };

  t.test('without a login, with a wrong one, with the right one after a wrong one', async (t) => {
    const { store, staging } = fresh(t);
    const ref = `${host}/team/app:1`;
    await t.rejects(store.pull(ref), {
      code: 'ErrImagePull',
      message: /authentication required|unauthorized/,
    });
    const refused = await store.pull(ref, { logins: [wrong] }).catch((error: Error) => error);
    t.match(refused, { code: 'ErrImagePull' });
    t.notMatch(`${refused}`, /wrong/, 'a password is never told');
    t.match(await store.pull(ref, { logins: [wrong, user] }), { id: digests.one });
    t.same(staging(), [], 'no login is left behind');
  });

  t.test('who may not have it does not get it from who may', async (t) => {
    const { store } = fresh(t);
    const ref = `${host}/team/app:1`;
    const [mine, theirs] = await Promise.allSettled([
      store.pull(ref, { logins: [user] }),
      store.pull(ref, { logins: [wrong] }),
    ]);
    t.same([mine.status, theirs.status], ['fulfilled', 'rejected']);
  });

  t.test('an index of several platforms gives that of this machine', async (t) => {
    const here = process.arch === 'x64' ? 'amd64' : process.arch;
    await registry.pushIndex('team/app:both', { s390x: digests.two, [here]: digests.one });
    const { store } = fresh(t);
    const told: string[] = [];
    const onProgress = (line: string): unknown => told.push(line);
    const image = await store.pull(`${host}/team/app:both`, { logins: [user], onProgress });
    t.equal(image.id, digests.one);
    t.match(told.join('\n'), /Copying blob.*Unpacking/s);
    t.match(await store.pull(`${host}/team/app@${digests.two}`, { logins: [user] }), { id: digests.two });
  });
});

t.test('a registry that never answers is given up at once, when nobody waits any more', async (t) => {
  const open = new Set<{ destroy(): void }>();
  const server = createServer((socket) => open.add(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const images = join(t.testdir(), 'images');
  const store = createImageStore({ paths: { images } });
  const ref = `127.0.0.1:${(server.address() as AddressInfo).port}/never:1`;
  const [first, second] = [new AbortController(), new AbortController()];
  const pulls = [first, second].map(({ signal }) =>
    store.pull(ref, { signal }).catch((error: Error) => error),
  );
  await until('it asks', () => open.size > 0);
  first.abort();
  t.match(await pulls[0], { code: 'ErrImagePull', message: /given up/ });
  t.not(readdirSync(join(images, 'staging')).length, 0, 'the other one still waits');
  second.abort();
  t.match(await pulls[1], { code: 'ErrImagePull' });
  await until('its folder is gone', () => readdirSync(join(images, 'staging')).length === 0);
});
