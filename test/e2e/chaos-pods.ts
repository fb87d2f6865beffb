// Pods of every kind for the chaos tests. Each container notes each of its starts in a folder of the node's.
// Assumes a folder to note in, one a node. Pure but for readStarts.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sleeper } from './harness.ts';

export type ChaosPod = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly annotations?: Record<string, string> };
  readonly spec: Record<string, unknown>;
};

const starts = { name: 'starts', mountPath: '/starts' };
const uid = { name: 'UID', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } };

function container(
  name: string,
  script: string,
  more: { volumeMounts?: object[]; [field: string]: unknown } = {},
) {
  const { volumeMounts = [], ...fields } = more;
  return {
    name,
    image: 'localhost/host',
    command: ['/bin/sh', '-c', `read up _ < /proc/uptime; echo $up >> /starts/$UID.${name}; ${script}`],
    env: [uid],
    volumeMounts: [starts, ...volumeMounts],
    ...fields,
  };
}

const greet = `exec python3 -c '
import socket
s = socket.create_server(("", 80)); print("listens", flush=True)
while True:
  c, _ = s.accept(); c.sendall(b"hello"); c.close()
'`;

/** `folder`: where starts are noted; it must exist. `hostPort`: of one of them. */
export function chaosPods({
  prefix,
  folder,
  hostPort,
}: {
  prefix: string;
  folder: string;
  hostPort: number;
}): ChaosPod[] {
  const pod = (name: string, spec: Record<string, unknown>): ChaosPod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `${prefix}-${name}` },
    spec: {
      terminationGracePeriodSeconds: 1,
      ...spec,
      volumes: [
        { name: 'starts', hostPath: { path: folder } },
        ...((spec.volumes as object[] | undefined) ?? []),
      ],
    },
  });
  const shared = [
    { name: 'disk', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
  ];
  const sees = [
    { name: 'disk', mountPath: '/disk' },
    { name: 'memory', mountPath: '/memory' },
  ];
  const readinessProbe = {
    exec: { command: ['test', '-e', '/disk/there'] },
    periodSeconds: 1,
    timeoutSeconds: 60,
  };
  return [
    pod('pair', { containers: [container('a', sleeper), container('b', sleeper)] }),
    pod('onfail', { restartPolicy: 'OnFailure', containers: [container('a', sleeper)] }),
    pod('never', { restartPolicy: 'Never', containers: [container('a', sleeper)] }),
    pod('init', { initContainers: [container('first', 'exit 0')], containers: [container('a', sleeper)] }),
    pod('side', {
      initContainers: [container('aside', sleeper, { restartPolicy: 'Always' })],
      containers: [container('a', sleeper)],
    }),
    pod('probe', {
      containers: [
        container('a', `touch /disk/there; ${sleeper}`, {
          readinessProbe,
          volumeMounts: sees,
        }),
      ],
      volumes: shared,
    }),
    pod('port', { containers: [container('a', greet, { ports: [{ containerPort: 80, hostPort }] })] }),
    pod('pids', {
      shareProcessNamespace: true,
      containers: [container('a', sleeper), container('b', sleeper)],
    }),
  ];
}

/** A manifest's Pod; another generation is another Pod, for its uid is made of what the file says. */
export const staticChaosPod = (prefix: string, folder: string, generation = 0): ChaosPod => {
  const [pair] = chaosPods({ prefix, folder, hostPort: 0 });
  const annotations = { generation: String(generation) };
  return { ...pair!, metadata: { name: `${prefix}-static`, annotations } };
};

/** When each container was started, in seconds since the boot: by `uid.container`. */
export function readStarts(folder: string): Map<string, string[]> {
  if (!existsSync(folder)) return new Map();
  return new Map(
    readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8').trim().split('\n')]),
  );
}
