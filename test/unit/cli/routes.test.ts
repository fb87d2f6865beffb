import type { NetworkReport } from '../../../lib/node-network/health/health.ts';
import fastify from 'fastify';
import t, { type Test } from 'tap';
import { registerPodwireRoutes } from '../../../cmd/podwired/routes.ts';
import { ApiError } from '../../../lib/api/errors.ts';
import type { Image, ImageService } from '../../../lib/container/cri.ts';

const image: Image = {
  ref: 'docker.io/library/a:1',
  id: 'sha256:1',
  sizeBytes: 5,
  pulledAt: '2026-01-01T00:00:00Z',
};

const report: NetworkReport = {
  node: 'n1',
  network: {
    ...{
      backend: 'vxlan',
      state: 'Ready',
      podCidrs: ['10.0.0.0/24'],
      mtu: 1450,
      link: undefined,
      problems: {},
    },
    ...{ lastError: undefined, device: 'eth0' },
  },
  peers: [],
};

function serve(t: Test, images: Partial<ImageService>) {
  const app = fastify();
  const calls: unknown[] = [];
  app.setErrorHandler((error, _request, reply) => {
    const status = error instanceof ApiError ? error.status : { code: 500, message: String(error) };
    reply.code(status.code).send(status);
  });
  registerPodwireRoutes(app, {
    identity: () => ({ node: 'n1', role: 'server' }),
    images: images as ImageService,
    explain: async (key) => `# ${key.namespace}/${key.name}\n`,
    networkReport: () => report,
    purge: async () => void calls.push('purge'),
  });
  t.teardown(() => app.close());
  return { app, calls };
}

const lines = (text: string): unknown[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

t.test('list, explain, purge', async (t) => {
  const { app, calls } = serve(t, { list: async () => [image] });
  t.same((await app.inject('/podwire/v1/images')).json(), { items: [image] });
  t.match((await app.inject('/podwire/v1/network')).json(), { node: 'n1', network: { device: 'eth0' } });
  const explained = await app.inject('/podwire/v1/pods/default/web/explain');
  t.equal(explained.body, '# default/web\n');
  t.match(explained.headers['content-type'], /^text\/plain/);
  await app.inject({ method: 'POST', url: '/podwire/v1/purge', payload: {} });
  t.same(calls, ['purge']);
});

t.test('a pull streams its progress and its end', async (t) => {
  const pull: ImageService['pull'] = async (ref, options) => {
    options?.onProgress?.('half');
    if (ref === 'bad') throw new Error('no such image');
    return image;
  };
  const { app } = serve(t, { pull });
  const good = await app.inject({ method: 'POST', url: '/podwire/v1/images/pull', payload: { ref: 'a' } });
  t.same(lines(good.body), [{ progress: 'half' }, { image }]);
  const bad = await app.inject({ method: 'POST', url: '/podwire/v1/images/pull', payload: { ref: 'bad' } });
  t.same(lines(bad.body), [{ progress: 'half' }, { error: 'no such image' }]);
});

t.test('refusals', async (t) => {
  const { app } = serve(t, { status: async () => undefined });
  const code = async (method: 'POST' | 'DELETE', url: string, payload?: object) =>
    (await app.inject({ method, url, ...(payload ? { payload } : {}) })).statusCode;
  t.equal(await code('POST', '/podwire/v1/images/pull', {}), 400);
  t.equal(await code('POST', '/podwire/v1/images/pull', { ref: 3 }), 400);
  t.equal(await code('POST', '/podwire/v1/images/import', { path: 'relative' }), 400);
  t.equal(await code('POST', '/podwire/v1/images/import', { path: '/a\0b' }), 400);
  t.equal(await code('DELETE', '/podwire/v1/images'), 400);
  t.equal(await code('DELETE', '/podwire/v1/images?ref=x'), 404);
});
