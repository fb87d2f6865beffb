// What a client asks first: which versions, groups and resources there are, and whether the server is well.
// Assumes the table of lib/api/resources.ts. Constant answers.
import { arch, platform } from 'node:process';
import type { FastifyInstance } from 'fastify';
import { groupPath, resources } from '../api/resources.ts';
import { forUsers } from './access/access.ts';
import { sendJson } from './content.ts';

/** Kubernetes' version whose shapes we serve. */
const kubernetes = { major: '1', minor: '34' };
const anybody = { config: { access: 'anybody' as const } };
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
  app.get('/api', forUsers, (_request, reply) => sendJson(reply, 200, apiVersions));
  const groups = groupVersions.filter((one) => one.includes('/')).map(groupOf);
  app.get('/apis', forUsers, (_request, reply) =>
    sendJson(reply, 200, { kind: 'APIGroupList', apiVersion: 'v1', groups }),
  );
  for (const group of groups)
    app.get(`/apis/${group.name}`, forUsers, (_request, reply) =>
      sendJson(reply, 200, { kind: 'APIGroup', apiVersion: 'v1', ...group }),
    );
  for (const groupVersion of groupVersions)
    app.get(groupPath(groupVersion), forUsers, (_request, reply) =>
      sendJson(reply, 200, resourceList(groupVersion)),
    );
  app.get('/version', anybody, (_request, reply) => sendJson(reply, 200, versionInfo));
  for (const path of ['/healthz', '/livez'])
    app.get(path, anybody, (_request, reply) => reply.type('text/plain').send('ok'));
  app.get('/readyz', anybody, (_request, reply) => {
    const ready = options.isReady();
    return reply
      .code(ready ? 200 : 503)
      .type('text/plain')
      .send(ready ? 'ok' : 'not ready');
  });
}

const groupVersions = [...new Set(Object.values(resources).map(({ apiVersion }) => apiVersion))];

interface Group {
  readonly name: string;
  readonly versions: readonly { readonly groupVersion: string; readonly version: string }[];
  readonly preferredVersion: { readonly groupVersion: string; readonly version: string };
}

/** One version a group. */
function groupOf(groupVersion: string): Group {
  const [name = '', version = ''] = groupVersion.split('/');
  const preferredVersion = { groupVersion, version };
  return { name, versions: [preferredVersion], preferredVersion };
}

function resourceList(groupVersion: string): object {
  const own = Object.values(resources).filter(({ apiVersion }) => apiVersion === groupVersion);
  const list = own.flatMap((info) => {
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
    // kubectl drain looks for this one, with its own group.
    { ...sub('pods/eviction', 'Eviction', ['create']), group: 'policy', version: 'v1' },
    sub('pods/attach', 'PodAttachOptions', ['create', 'get']),
    sub('pods/ephemeralcontainers', 'Pod', ['get', 'patch', 'update']),
    sub('pods/exec', 'PodExecOptions', ['create', 'get']),
    sub('pods/log', 'Pod', ['get']),
    sub('pods/resize', 'Pod', ['get', 'patch', 'update']),
    sub('pods/portforward', 'PodPortForwardOptions', ['create', 'get']),
  ];
  const all = groupVersion === 'v1' ? [...list, ...extra] : list;
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources: all };
}
