// A Pod in the CRI's words, and what its streaming server says: tables of what goes in and what comes out.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { ContainerConfig, PodSandboxConfig } from '../../../lib/container/cri.ts';
import type { RemoteImage } from '../../../lib/cri/messages.ts';
import { registryLogin } from '../../../lib/cri/registry-login.ts';
import { exitOf } from '../../../lib/cri/remote-exec.ts';
import { containerRequest, featuresOf, sandboxMessage } from '../../../lib/cri/requests.ts';
import { digestOf, timeOf } from '../../../lib/cri/status.ts';

const pod: PodSandboxConfig = {
  namespace: 'default',
  name: 'web',
  uid: 'u1',
  attempt: 2,
  hostname: 'web',
  dns: { servers: ['192.0.2.1'], searches: [], options: [] },
  hostAliases: [],
  portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
  annotations: { 'kubernetes.io/ingress-bandwidth': '1M' },
  namespaces: { network: 'pod', ipc: 'pod', pid: 'container' },
  sysctls: {},
  resources: {},
};
const container: ContainerConfig = {
  name: 'c',
  attempt: 1,
  image: 'x',
  env: [],
  mounts: [{ hostPath: '/h', containerPath: '/c', readOnly: true, propagation: 'rslave' }],
  security: {
    privileged: false,
    readOnlyRootFilesystem: false,
    allowPrivilegeEscalation: true,
    runAsNonRoot: false,
    supplementalGroups: [],
    capabilitiesAdd: [],
    capabilitiesDrop: [],
    seccomp: 'RuntimeDefault',
  },
  resources: { memoryLimit: 1024 },
  tty: false,
  stdin: false,
  logPath: '/var/log/podwire/pods/default_web_u1/c/1.log',
  hash: 'h',
};
const image: RemoteImage = {
  id: 'sha256:1',
  repoTags: [],
  repoDigests: [],
  size: '1',
  uid: null,
  username: '',
};
const requestOf = (config: Partial<ContainerConfig>, given: Partial<RemoteImage> = {}, features = {}) =>
  containerRequest({
    config: { ...container, ...config },
    sandbox: { config: pod, owner: '/', cgroup: 'podwire/podu1' },
    hostsPath: '/hosts',
    image: { ...image, ...given },
    features: { strictGroups: false, recursiveReadOnly: false, ...features },
    unified: true,
  });

t.test('a sandbox', async (t) => {
  const sent = sandboxMessage({ config: pod, owner: '/', cgroup: 'podwire/podu1' });
  t.match(sent, {
    metadata: { name: 'web', uid: 'u1', namespace: 'default', attempt: 2 },
    portMappings: [{ protocol: 'TCP', containerPort: 80, hostPort: 8080, hostIp: '' }],
    labels: { 'io.kubernetes.pod.uid': 'u1', 'podwire.root': '/' },
    annotations: pod.annotations,
    linux: {
      cgroupParent: '/podwire/podu1',
      securityContext: { namespaceOptions: { network: 'POD', pid: 'CONTAINER', ipc: 'POD' } },
    },
  });
  const namespaces = { ...pod.namespaces, network: 'node' } as const;
  t.equal(sandboxMessage({ config: { ...pod, namespaces }, owner: '/', cgroup: 'x' }).hostname, '');
});

t.test('a container', async (t) => {
  const { config, sandboxConfig } = requestOf({ stopSignal: 'SIGUSR1' });
  t.match(config, {
    image: { image: 'sha256:1' },
    logPath: 'c/1.log',
    mounts: [
      { containerPath: '/etc/hosts', hostPath: '/hosts', readonly: true },
      { containerPath: '/c', readonly: true, propagation: 'PROPAGATION_HOST_TO_CONTAINER' },
    ],
    annotations: { 'podwire.image': 'x', 'podwire.stop-signal': 'SIGUSR1' },
    linux: { resources: { memoryLimitInBytes: 1024, unified: { 'memory.oom.group': '1' } } },
  });
  t.equal(sandboxConfig.logDirectory, '/var/log/podwire/pods/default_web_u1');
  const own = requestOf({ mounts: [{ hostPath: '/mine', containerPath: '/etc/hosts', readOnly: false }] });
  t.equal(own.config.mounts.length, 1, "a volume in the place of the Pod's hosts file takes it");
  const open = requestOf({ security: { ...container.security, privileged: true } });
  t.match(open.config.linux.securityContext, {
    privileged: true,
    maskedPaths: [],
    seccomp: { profileType: 'Unconfined' },
  });
  t.equal(open.sandboxConfig.linux.securityContext.privileged, true);
});

const user = (uid: number | undefined, username = '') => ({
  uid: uid === undefined ? null : { value: `${uid}` },
  username,
});
for (const { name, security, of, want, refused } of [
  { name: 'nobody named', security: {}, of: user(undefined), want: { runAsUser: undefined } },
  { name: "the image's number", security: {}, of: user(5), want: { runAsUser: { value: 5 } } },
  { name: "the image's name", security: {}, of: user(undefined, 'app'), want: { runAsUsername: 'app' } },
  {
    name: "the Pod's wins",
    security: { runAsUser: 7 },
    of: user(undefined, 'app'),
    want: { runAsUser: { value: 7 }, runAsUsername: undefined },
  },
  {
    name: 'a group needs a user',
    security: { runAsGroup: 9 },
    of: user(undefined),
    want: { runAsUser: { value: 0 }, runAsGroup: { value: 9 } },
  },
  { name: 'not root', security: { runAsNonRoot: true }, of: user(5), want: { runAsUser: { value: 5 } } },
  {
    name: 'not root, and nobody named',
    security: { runAsNonRoot: true },
    of: user(undefined),
    refused: /it would run as root/,
  },
  { name: 'not root, and 0', security: { runAsNonRoot: true }, of: user(0), refused: /it would run as root/ },
  {
    name: 'not root, and a name',
    security: { runAsNonRoot: true },
    of: user(undefined, 'app'),
    refused: /"app" is root cannot be told/,
  },
  {
    name: 'strict groups',
    security: { supplementalGroupsPolicy: 'Strict' as const },
    of: user(5),
    refused: /cannot do it/,
  },
])
  t.test(`user: ${name}`, async (t) => {
    const make = () => requestOf({ security: { ...container.security, ...security } }, of);
    if (refused) return void t.throws(make, { code: 'CreateContainerConfigError', message: refused });
    const found = make().config.linux.securityContext;
    for (const [key, value] of Object.entries(want ?? {})) t.same(found[key], value, key);
  });

t.test('what a newer runtime can do', async (t) => {
  const mounts = [{ hostPath: '/h', containerPath: '/c', readOnly: true, recursiveReadOnly: true }];
  t.throws(() => requestOf({ mounts }), {
    message: /recursiveReadOnly of \/c: the container runtime cannot do it/,
  });
  const features = featuresOf({
    status: null,
    runtimeHandlers: [{ name: '', features: { recursiveReadOnlyMounts: true } }],
    features: { supplementalGroupsPolicy: true },
  });
  t.match(requestOf({ mounts }, {}, features).config.mounts[1], { recursiveReadOnly: true });
});

t.test('times and digests', async (t) => {
  t.equal(timeOf('1700000000123456789'), '2023-11-14T22:13:20.123456789Z');
  t.equal(digestOf('docker.io/library/x@sha256:abc'), 'sha256:abc');
  t.equal(digestOf('sha256:abc'), 'sha256:abc');
});

for (const { text, want } of [
  { text: '{"status":"Success"}', want: { code: 0, message: '' } },
  {
    text: '{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}',
    want: { code: 7, message: '' },
  },
  {
    text: '{"status":"Failure","reason":"InternalError","message":"no such file"}',
    want: { code: 126, message: 'no such file' },
  },
  { text: '', want: { code: 137, message: '' } },
])
  t.test(`exit of ${text.slice(0, 60)}`, async (t) => t.same(exitOf(text), want));

t.test('who podwire is to a registry', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'podwire-login-'));
  t.teardown(() => rmSync(home, { recursive: true }));
  const file = join(home, 'auth.json');
  const auth = Buffer.from('me:se:cret').toString('base64');
  writeFileSync(
    file,
    JSON.stringify({ auths: { 'quay.io': { auth }, 'https://index.docker.io/v1/': { auth } } }),
  );
  const env = { REGISTRY_AUTH_FILE: file, HOME: home };
  const want = { username: 'me', password: 'se:cret' };
  t.match(registryLogin('quay.io', env), { ...want, serverAddress: 'quay.io' });
  t.match(registryLogin('docker.io', env), want);
  t.equal(registryLogin('other.io', env), undefined);
  writeFileSync(file, '{"auths": "se:cret');
  t.throws(() => registryLogin('quay.io', env), { code: 'REGISTRY_LOGIN', message: /^(?!.*cret)/ });
});
