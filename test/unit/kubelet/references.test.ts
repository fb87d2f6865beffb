// What a Pod speaks of is watched, once, for as long as a Pod does; changes wake the Pods that use it, and no others.
import { pino } from 'pino';
import t from 'tap';
import { type Client, initialEventsEnd, type WatchEvent } from '../../../lib/api/client.ts';
import { referencesOf } from '../../../lib/api/pod-references.ts';
import type { ConfigMap } from '../../../lib/api/types.ts';
import { ReferenceWatcher } from '../../../lib/kubelet/references.ts';
import { pod } from './fixtures.ts';

t.test('every reference of a spec, each once', async (t) => {
  const spec = {
    volumes: [
      { name: 'a', configMap: { name: 'c1' } },
      { name: 'b', secret: { secretName: 's1' } },
      { name: 'c', emptyDir: {} },
      { name: 'd', projected: { sources: [{ configMap: { name: 'c2' } }, { secret: { name: 's1' } }] } },
    ],
    initContainers: [
      { name: 'i', envFrom: [{ secretRef: { name: 's2' } }, { configMapRef: { name: 'c1' } }] },
    ],
    containers: [
      {
        name: 'a',
        env: [
          { name: 'X', value: 'x' },
          { name: 'Y', valueFrom: { configMapKeyRef: { name: 'c3', key: 'k' } } },
          { name: 'Z', valueFrom: { secretKeyRef: { name: 's3', key: 'k' } } },
        ],
      },
    ],
  };
  const { configmaps, secrets } = referencesOf(pod({ ...spec, imagePullSecrets: [{ name: 's4' }] }));
  t.strictSame([...configmaps].sort(), ['c1', 'c2', 'c3']);
  t.strictSame([...secrets].sort(), ['s1', 's2', 's3', 's4']);
  t.equal(referencesOf(pod()).secrets.size, 0);
});

/** A client whose one watch says what it is told. */
function fakeClient() {
  const watches: {
    selector: string | undefined;
    say: (event: WatchEvent<ConfigMap>) => void;
    ended: boolean;
  }[] = [];
  const client = {
    async *watch(
      _resource: string,
      { fieldSelector, signal }: { fieldSelector?: string; signal: AbortSignal },
    ) {
      const queue: WatchEvent<ConfigMap>[] = [];
      let wake = (): void => {};
      const watch = {
        selector: fieldSelector,
        ended: false,
        say: (event: WatchEvent<ConfigMap>) => {
          queue.push(event);
          wake();
        },
      };
      watches.push(watch);
      signal.addEventListener('abort', () => wake());
      while (!signal.aborted) {
        if (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        yield* queue.splice(0);
      }
      watch.ended = true;
    },
  };
  return { client: client as unknown as Client, watches };
}

const object = (version: string): ConfigMap => ({ metadata: { resourceVersion: version } }) as ConfigMap;
const bookmark = {
  type: 'BOOKMARK',
  object: { metadata: { resourceVersion: '9', annotations: { [initialEventsEnd]: 'true' } } },
} as WatchEvent<ConfigMap>;
const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

t.test('one watch an object; changes wake its Pods; the last Pod ends it', async (t) => {
  const { client, watches } = fakeClient();
  const woken: string[] = [];
  const watcher = new ReferenceWatcher({
    client,
    log: pino({ enabled: false }),
    onChange: (uid) => woken.push(uid),
  });
  const spec = { volumes: [{ name: 'v', configMap: { name: 'c' } }] };
  watcher.follow(pod(spec, { uid: 'u1' }));
  watcher.follow(pod(spec, { uid: 'u2' }));
  watcher.follow(pod({}, { uid: 'u3' }));
  watcher.follow(pod(spec, { uid: 'u1' }));
  await tick();
  t.strictSame(
    watches.map(({ selector }) => selector),
    ['metadata.name=c'],
  );
  const asked = watcher.configMap('default', 'c');
  watches[0]!.say({ type: 'ADDED', object: object('1') });
  watches[0]!.say(bookmark);
  t.equal((await asked)?.metadata.resourceVersion, '1');
  t.strictSame(woken, [], 'what there was at first is no change');
  watches[0]!.say({ type: 'MODIFIED', object: object('2') });
  await tick();
  t.strictSame(woken, ['u1', 'u2']);
  watcher.forget('u1');
  watches[0]!.say({ type: 'DELETED', object: object('3') });
  await tick();
  t.strictSame(woken, ['u1', 'u2', 'u2']);
  t.equal(await watcher.configMap('default', 'c'), undefined);
  const debugger_ = { name: 'd', image: 'i', envFrom: [{ secretRef: { name: 's' } }] };
  watcher.follow(pod({ ...spec, ephemeralContainers: [debugger_] }, { uid: 'u2' }));
  await tick();
  t.equal(watches[1]?.selector, 'metadata.name=s', 'an ephemeral container names more');
  watcher.forget('u2');
  await tick();
  t.ok(watches[0]!.ended);
  t.ok(watches[1]!.ended);
  await t.rejects(watcher.configMap('default', 'c'), { code: 'NOT_FOLLOWED' });
  watcher.close();
});

t.test('what is not there is told as soon as the API said so', async (t) => {
  const { client, watches } = fakeClient();
  const watcher = new ReferenceWatcher({ client, log: pino({ enabled: false }), onChange: () => {} });
  watcher.follow(pod({ volumes: [{ name: 'v', secret: { secretName: 's' } }] }));
  await tick();
  const asked = watcher.secret('default', 's');
  watches[0]!.say(bookmark);
  t.equal(await asked, undefined);
  watcher.close();
});
