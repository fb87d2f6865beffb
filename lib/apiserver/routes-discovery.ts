// What a client asks first: which versions, groups and resources there are, and whether the server is well.
// Assumes the table of lib/api/resources.ts. Constant answers.
import { arch, platform } from 'node:process';
import type { FastifyInstance } from 'fastify';
import { resources } from '../api/resources.ts';
import { sendJson } from './content.ts';

/** Kubernetes' version whose shapes we serve. */
const kubernetes = { major: '1', minor: '34' };
const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

export function addDiscovery(
  app: FastifyInstance,
  options: { version: string; isReady: () => boolean },
): void {
  const apiVersions = { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
  const versionInfo = {
    ...kubernetes,
    gitVersion: `v${kubernetes.major}.${kubernetes.minor}.0+podwire-${options.version}`,
    gitCommit: '',
    gitTreeState: '',
    buildDate: '1970-01-01T00:00:00Z',
    goVersion: '',
    compiler: `node ${process.version}`,
    platform: `${platform}/${arch === 'x64' ? 'amd64' : arch}`,
  };
  app.get('/api', (_request, reply) => sendJson(reply, 200, apiVersions));
  app.get('/apis', (_request, reply) =>
    sendJson(reply, 200, { kind: 'APIGroupList', apiVersion: 'v1', groups: [] }),
  );
  app.get('/api/v1', (_request, reply) => sendJson(reply, 200, resourceList()));
  app.get('/version', (_request, reply) => sendJson(reply, 200, versionInfo));
  for (const path of ['/healthz', '/livez'])
    app.get(path, (_request, reply) => reply.type('text/plain').send('ok'));
  app.get('/readyz', (_request, reply) => {
    const ready = options.isReady();
    return reply
      .code(ready ? 200 : 503)
      .type('text/plain')
      .send(ready ? 'ok' : 'not ready');
  });
}

function resourceList(): object {
  const list = Object.values(resources).flatMap((info) => {
    const { resource: name, singular: singularName, namespaced, kind, shortNames, categories } = info;
    const main = {
      name,
      singularName,
      namespaced,
      kind,
      verbs,
      shortNames,
      ...(categories ? { categories } : {}),
    };
    const status = {
      name: `${name}/status`,
      singularName: '',
      namespaced,
      kind,
      verbs: ['get', 'patch', 'update'],
    };
    return info.hasStatus ? [main, status] : [main];
  });
  const sub = (name: string, kind: string, verbs: string[]): object => ({
    name,
    singularName: '',
    namespaced: true,
    kind,
    verbs,
  });
  const extra = [
    sub('bindings', 'Binding', ['create']),
    sub('pods/binding', 'Binding', ['create']),
    sub('pods/exec', 'PodExecOptions', ['create', 'get']),
    sub('pods/log', 'Pod', ['get']),
  ];
  return { kind: 'APIResourceList', groupVersion: 'v1', resources: [...list, ...extra] };
}
