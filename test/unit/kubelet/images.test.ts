// Images as the kubelet sees to them: who it is to a registry, and which images go when the disk is full.
import t from 'tap';
import type { Pod, Secret } from '../../../lib/api/types.ts';
import type { Image, ImageService, PullOptions } from '../../../lib/container/cri.ts';
import { ImageGc, removalOrder } from '../../../lib/kubelet/image-gc.ts';
import { ImagePuller } from '../../../lib/kubelet/images.ts';
import { loginsFor, matches, pullLogins } from '../../../lib/kubelet/pull-secrets.ts';
import { container, pod } from './fixtures.ts';

const matching: ReadonlyArray<readonly [key: string, registry: string, path: string, want: boolean]> = [
  ['reg.example', 'reg.example', '/a/b', true],
  ['reg.example', 'reg.example:5000', '/a/b', false],
  ['reg.example:5000', 'reg.example:5000', '/a', true],
  ['*.example', 'reg.example', '/a', true],
  ['*.example', 'a.reg.example', '/a', false],
  ['*.*.example', 'a.reg.example', '/a', true],
  ['r?g.example', 'reg.example', '/a', true],
  ['reg.example/team', 'reg.example', '/team/app', true],
  ['reg.example/team', 'reg.example', '/other/app', false],
  ['regxexample', 'reg.example', '/a', false],
];
for (const [key, registry, path, want] of matching)
  t.test(`${key} for ${registry}${path}`, async (t) => t.equal(matches(key, registry, path), want));

const base64 = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64');
const login = (name: string): object => ({ auth: base64(`${name}:p:${name}`) });
function secret(auths: object): Secret {
  const data = { '.dockerconfigjson': base64({ auths }) };
  return { kind: 'Secret', type: 'kubernetes.io/dockerconfigjson', data } as unknown as Secret;
}
const users = (image: string, ...secrets: Secret[]): string[] =>
  loginsFor(image, secrets).map(({ username, password }) => {
    t.equal(password, `p:${username}`);
    return username;
  });

t.test('logins for an image', async (t) => {
  const hub = secret({ 'https://index.docker.io/v1/': login('hub') });
  t.same(users('nginx', hub), ['hub']);
  t.same(users('quay.io/x/nginx', hub), []);
  const mine = secret({ 'reg.example': login('all'), 'https://reg.example/v2/team': login('team') });
  t.same(users('reg.example/team/app:1', mine), ['team', 'all'], 'the longer path first');
  t.same(users('reg.example/other/app', mine), ['all']);
  t.same(
    users('reg.example/x', secret({ 'reg.example': login('a') }), secret({ 'reg.example': login('b') })),
    ['a', 'b'],
  );
  const old = {
    type: 'kubernetes.io/dockercfg',
    data: { '.dockercfg': base64({ 'reg.example': { username: 'c', password: 'p:c' } }) },
  };
  t.same(users('reg.example/x', old as unknown as Secret), ['c']);
  const junk = [
    {},
    { type: 'Opaque', data: { '.dockerconfigjson': base64({ auths: { 'reg.example': login('x') } }) } },
  ];
  t.same(
    users('reg.example/x', ...(junk as unknown as Secret[]), secret({ 'reg.example': { auth: '???' } })),
    [],
  );
  t.same(
    loginsFor('x', [
      {
        type: 'kubernetes.io/dockerconfigjson',
        data: { '.dockerconfigjson': base64('{') },
      } as unknown as Secret,
    ]),
    [],
  );
});

t.test('a Secret that is not there is told, and gone without', async (t) => {
  const events: string[] = [];
  const references = {
    configMap: async () => undefined,
    secret: async (_namespace: string, name: string) =>
      name === 'b' ? secret({ 'reg.example': login('b') }) : undefined,
  };
  const wanting: Pod = pod({ imagePullSecrets: [{ name: 'a' }, { name: 'b' }] });
  const record = ({ reason, message }: { reason: string; message: string }) =>
    void events.push(`${reason} ${message}`);
  const found = await pullLogins({ pod: wanting, image: 'reg.example/x', references, record });
  t.match(found, [{ username: 'b' }]);
  t.match(events, [/^FailedToRetrieveImagePullSecret .*\(a\)/]);
});

const minute = 60_000;
t.test('which images go, and in which order', async (t) => {
  const seen = new Map([
    ['young', { since: 9 * minute, used: 0 }],
    ['used', { since: 0, used: 10 * minute }],
    ['was used', { since: 0, used: 5 * minute }],
    ['never, older', { since: 1 * minute, used: 0 }],
    ['never', { since: 2 * minute, used: 0 }],
  ]);
  t.same(removalOrder(seen, new Set(['used']), 10 * minute), ['never, older', 'never', 'was used']);
});

t.test('a disk too full loses unused images until it is empty enough', async (t) => {
  let now = 0;
  const there = new Map(['a', 'b', 'c', 'd'].map((ref) => [ref, { ref, id: `sha256:${ref}` } as Image]));
  const images = {
    list: async () => [...there.values(), { ref: 'localhost/host:latest', id: '' } as Image],
    remove: async (ref: string) => {
      if (ref === 'b') throw new Error('it is used');
      there.delete(ref);
    },
  } as unknown as ImageService;
  const said: string[] = [];
  const say = (text: string): void => void said.push(text);
  const gc = new ImageGc({
    images,
    runtime: { listContainers: () => [container({ imageId: 'sha256:a' })] },
    limits: { high: 85, low: 80 },
    usage: () => 70 + 5 * there.size,
    log: { info: say, warn: say },
    now: () => now,
  });
  await gc.look();
  t.equal(there.size, 4, 'all too young');
  now = 3 * minute;
  await gc.look();
  t.same([...there.keys()], ['a', 'b'], 'a is used, b came into use');
  t.match(said.at(-1), /90 % full: 2 unused images removed, now 80 %/);
  there.set('e', { ref: 'e', id: 'sha256:e' } as Image);
  await gc.removeUnused();
  t.same([...there.keys()], ['a', 'b'], 'however young, when Pods would have to go instead');
});

function puller(pull: (options: PullOptions) => Promise<Image>) {
  const events: string[] = [];
  const service = {
    status: async () => undefined,
    pull: (_ref: string, options: PullOptions) => pull(options),
  };
  const images = new ImagePuller(service as unknown as ImageService);
  const going = new AbortController();
  const wanted = {
    podUid: 'u1',
    container: { name: 'a', image: 'reg.example/x', imagePullPolicy: 'IfNotPresent' as const },
    record: ({ reason, message }: { reason: string; message: string }) =>
      void events.push(`${reason}: ${message}`),
    logins: async () => [{ username: 'u', password: 'secret' }],
    signal: going.signal,
  };
  return { images, events, going, wanted };
}

t.test('a pull that fails is held back, and says why', async (t) => {
  const { images, events, wanted } = puller(async ({ logins }) => {
    t.match(logins, [{ username: 'u' }]);
    throw new Error('no such image');
  });
  await t.rejects(images.ensure(wanted), { code: 'ErrImagePull', message: /no such image/, retryMs: 1000 });
  await t.rejects(images.ensure(wanted), {
    code: 'ImagePullBackOff',
    message: /ErrImagePull: no such image/,
  });
  t.match(events, [/^Pulling: /, /^Failed: /, /^BackOff: /]);
  t.notMatch(events.join(), /secret/);
});

t.test('the pull of a Pod that goes is given up, and nothing is said of it', async (t) => {
  const { images, events, going, wanted } = puller(
    ({ signal }) =>
      new Promise((_, reject) => signal!.addEventListener('abort', () => reject(new Error('given up')))),
  );
  const ensuring = images.ensure(wanted);
  setImmediate(() => going.abort());
  await t.rejects(ensuring, { code: 'ErrImagePull' });
  t.equal(events.length, 1);
});
