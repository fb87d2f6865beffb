// What the cache keeps: live objects once for all, and nothing of what watches tell about the past.
import t from 'tap';
import type { ApiObject } from '../../../lib/api/types.ts';
import { encode, ObjectCache } from '../../../lib/apiserver/registry/object-cache.ts';
import type { StoreEntry } from '../../../lib/store/store.ts';
import { manifest, startRegistry } from './fixtures.ts';

const pod = (name: string) => ({ kind: 'Pod', metadata: { name } }) as unknown as ApiObject;
const entry = (name: string, revision: number): StoreEntry => ({
  key: `/registry/pods/default/${name}`,
  value: encode(pod(name)),
  revision,
  createRevision: revision,
});

t.test('what is stored is parsed once', async (t) => {
  const cache = new ObjectCache();
  const object = cache.decode(entry('a', 1));
  t.equal(object.metadata.resourceVersion, '1');
  cache.decode(entry('a', 2));
  t.equal(cache.decode(entry('a', 1)), object, 'the one before, too');
  t.equal(cache.decodeTold(entry('a', 1)), object);
});

t.test('what watches tell of the past is not kept', async (t) => {
  const cache = new ObjectCache();
  const told = cache.decodeTold(entry('gone', 1));
  t.equal(cache.decodeTold(entry('gone', 1)), told, 'but for the watch that is told next');
  cache.decodeTold(entry('other', 2));
  t.not(cache.decodeTold(entry('gone', 1)), told);
  cache.drop(entry('gone', 1).key, 1);
  const live = cache.decode(entry('live', 3));
  cache.decodeTold(entry('live', 4)); // its deletion
  t.equal(cache.decode(entry('live', 3)), live, 'nor does it push out what is');
});

t.test('what is being written is shared with all who are told', async (t) => {
  const cache = new ObjectCache();
  const { key, value } = entry('a', 1);
  cache.expect(key, value, pod('a'));
  const told = cache.decodeTold(entry('a', 1));
  cache.forgetExpected(key);
  t.equal(cache.decode(entry('a', 1)), told);
});

t.test(
  'a watch over the past of a deleted object, and its deletion, leave the registry as it was',
  async (t) => {
    const { registry, close } = await startRegistry();
    t.teardown(close);
    const { metadata } = await registry.create('pods', manifest('web'));
    await registry.delete('pods', { namespace: 'default', name: 'web' }, { gracePeriodSeconds: 0 });
    const stop = new AbortController();
    t.teardown(() => stop.abort());
    const seen = async (): Promise<ApiObject[]> => {
      const from = String(Number(metadata.resourceVersion) - 1);
      const stream = await registry.openWatch('pods', { resourceVersion: from, signal: stop.signal });
      const events = stream[Symbol.asyncIterator]();
      const first = await events.next();
      const second = await events.next();
      return [first.value!.object as ApiObject, second.value!.object as ApiObject];
    };
    const [made] = await seen();
    const [again] = await seen();
    t.strictSame(made, again);
    t.not(made, again, 'parsed anew: nobody kept it');
  },
);
