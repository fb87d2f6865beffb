// What an agent makes of requests on its own socket.
import t from 'tap';
import { narrowed, ownPods } from '../../../cmd/podwired/forward.ts';
import type { Pod } from '../../../lib/api/types.ts';

t.test('lists of Pods are narrowed to the node', async (t) => {
  const own = 'fieldSelector=spec.nodeName%3Dtwo';
  const cases = [
    ['GET', '/api/v1/pods', `/api/v1/pods?${own}`],
    ['GET', '/api/v1/namespaces/default/pods/', `/api/v1/namespaces/default/pods/?${own}`],
    ['GET', '/api/v1/pods?watch=true', `/api/v1/pods?watch=true&${own}`],
    [
      'GET',
      '/api/v1/pods?fieldSelector=status.phase%3DRunning',
      '/api/v1/pods?fieldSelector=status.phase%3DRunning%2Cspec.nodeName%3Dtwo',
    ],
    ['GET', '/api/v1/pods?fieldSelector=spec.nodeName%3Done', undefined],
    ['GET', '/api/v1/namespaces/default/pods/web', undefined],
    ['GET', '/api/v1/nodes', undefined],
    ['DELETE', '/api/v1/namespaces/default/pods', undefined],
    ['POST', '/api/v1/namespaces/default/pods', undefined],
  ] as const;
  for (const [method, url, wanted] of cases) t.equal(narrowed({ method, url }, 'two'), wanted ?? url, url);
});

t.test('while no server answers, the node tells of its own Pods', async (t) => {
  const pod = (namespace: string, name: string, labels = {}) =>
    ({ metadata: { namespace, name, labels }, spec: { nodeName: 'two', containers: [] } }) as unknown as Pod;
  const pods = [pod('default', 'web', { app: 'web' }), pod('other', 'db')];
  const ask = (url: string, method = 'GET', accept?: string) =>
    ownPods({ method, url, headers: accept ? { accept } : {} }, pods) as
      | { items?: Pod[]; metadata?: { name?: string }; kind?: string; rows?: unknown[] }
      | undefined;
  const names = (url: string) => ask(url)?.items?.map(({ metadata }) => metadata.name);
  t.same(names('/api/v1/pods'), ['web', 'db']);
  t.same(names('/api/v1/pods?fieldSelector=spec.nodeName%3Dtwo'), ['web', 'db']);
  t.same(names('/api/v1/pods?labelSelector=app%3Dweb'), ['web']);
  t.same(names('/api/v1/namespaces/other/pods'), ['db']);
  t.equal(ask('/api/v1/namespaces/default/pods/web')?.metadata?.name, 'web');
  const table = 'application/json;as=Table;v=v1;g=meta.k8s.io';
  t.match(ask('/api/v1/namespaces/default/pods', 'GET', table), { kind: 'Table', rows: { length: 1 } });
  for (const url of ['/api/v1/namespaces/default/pods/db', '/api/v1/nodes', '/api/v1/pods?watch=true'])
    t.equal(ask(url), undefined, url);
  t.equal(ask('/api/v1/namespaces/default/pods/web', 'DELETE'), undefined);
});
