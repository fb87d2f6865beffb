// Probes of real Pods (ACCEPTANCE A 1-5): exec, http, https, tcp and gRPC; and what a time-out leaves behind: nothing.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { cgroupProcs } from '../../lib/kernel/cgroup.ts';
import { until } from '../until.ts';
import { hostPod, ownRuntimeOnly, sleeper, startNode } from './harness.ts';

const nodeProgram = join(import.meta.dirname, '../../node_modules/node/bin/node');
const first = (pod: Pod | undefined) => pod?.status?.containerStatuses?.[0];
const isReady = (pod: Pod | undefined): boolean =>
  pod?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
// A busy machine is no failure: only an answer is.
const patient = { periodSeconds: 1, timeoutSeconds: 60 };
const quick = { ...patient, failureThreshold: 1 };
const exec = (script: string) => ({ exec: { command: ['/bin/sh', '-c', script] } });

/** A server whose /healthz answers 200, and 500 once /shared/sick is there; gRPC health on 9090; https on 8443. */
const server = `
const fs = require('node:fs');
const sick = () => fs.existsSync('/tmp/sick');
require('node:http').createServer((q, r) => r.writeHead(sick() || q.headers['x-probe'] !== 'yes' ? 500 : 200).end()).listen(8080);
const grpc = require('node:http2').createServer();
grpc.on('stream', (s) => {
  s.on('error', () => {});
  s.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  s.on('wantTrailers', () => s.sendTrailers({ 'grpc-status': '0' }));
  s.end(Buffer.from([0, 0, 0, 0, 2, 8, sick() ? 2 : 1]));
});
grpc.listen(9090);
const { execFileSync } = require('node:child_process');
execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=x', '-keyout', '/tmp/k', '-out', '/tmp/c'], { stdio: 'ignore' });
require('node:https').createServer({ key: fs.readFileSync('/tmp/k'), cert: fs.readFileSync('/tmp/c') }, (q, r) => r.end()).listen(8443);
process.on('SIGTERM', () => process.exit(0));
`;

t.test('probes', async (t) => {
  const node = await startNode(t, { podCidr: '10.207.0.0/24' });
  const apply = (name: string, containers: object[], spec: object = {}): Promise<void> => {
    const pod = hostPod(name, {}, spec) as { spec: { containers: object[] } };
    pod.spec.containers = containers.map((one) => ({ image: 'localhost/host', ...one }));
    return node.apply(pod);
  };
  const shell = (name: string, script: string, more: object) => ({
    name,
    command: ['/bin/sh', '-c', script],
    ...more,
  });
  const eventsOf = async (name: string): Promise<string[]> => {
    const { items } = await node.client.list('events', { namespace: 'default' });
    return items
      .filter((event) => event.involvedObject.name === name)
      .map(({ reason, message }) => `${reason}: ${message}`);
  };

  // Pods whose story takes seconds live side by side.
  const http = {
    httpGet: { port: 'web', path: '/healthz', httpHeaders: [{ name: 'X-Probe', value: 'yes' }] },
  };
  await apply('servers', [
    {
      name: 'all',
      command: [nodeProgram, '-e', server],
      ports: [{ name: 'web', containerPort: 8080 }],
      startupProbe: { tcpSocket: { port: 8443 }, ...patient, failureThreshold: 100 },
      livenessProbe: { ...http, ...quick },
      readinessProbe: { grpc: { port: 9090 }, ...patient },
    },
    shell('tls', sleeper, {
      readinessProbe: { httpGet: { port: 8443, scheme: 'HTTPS' }, ...patient },
      livenessProbe: { tcpSocket: { port: 8080 }, initialDelaySeconds: 3, ...quick },
    }),
  ]);
  await apply('healthy', [
    shell('c', `touch /tmp/health; ${sleeper}`, {
      livenessProbe: { ...exec('cat /tmp/health'), ...quick, initialDelaySeconds: 1 },
    }),
  ]);
  await apply('sick', [
    shell('c', `touch /tmp/health; sleep 1; rm /tmp/health; ${sleeper}`, {
      livenessProbe: { ...exec('cat /tmp/health'), ...quick, initialDelaySeconds: 1 },
    }),
  ]);
  await apply('late', [
    shell('ready', sleeper, {
      readinessProbe: { ...exec('true'), initialDelaySeconds: 3, periodSeconds: 1 },
    }),
    shell('never', sleeper, { readinessProbe: { ...exec('false'), ...quick } }),
  ]);
  await apply('slow', [
    shell('c', `sleep 2; touch /tmp/up; ${sleeper}`, {
      startupProbe: { ...exec('test -e /tmp/up'), ...patient, failureThreshold: 100 },
      livenessProbe: { ...exec('test -e /tmp/up'), ...quick },
    }),
  ]);
  await apply(
    'stuck',
    [
      shell('c', 'trap "" TERM; while :; do sleep 1; done', {
        startupProbe: {
          ...exec('sleep 1000 & sleep 1000'),
          ...quick,
          timeoutSeconds: 1,
          terminationGracePeriodSeconds: 1,
        },
      }),
    ],
    { terminationGracePeriodSeconds: 100 },
  );

  await t.test('restarted when its exec liveness probe fails', async (t) => {
    // It falls sick again and again: on a busy machine it may have been restarted more than once by now.
    const pod = await node.until('sick', (p) => (first(p)?.restartCount ?? 0) >= 1);
    t.match(first(pod), { lastState: { terminated: { exitCode: 0 } } }, 'it was asked to end, by TERM');
    const told = await eventsOf('sick');
    t.ok(told.includes('Killing: Container c failed liveness probe, will be restarted'), told.join('\n'));
    t.ok(
      told.some((one) => /^Unhealthy: Liveness probe failed: cat: .*\/tmp\/health'?: No such file/.test(one)),
    );
  });

  await t.test(
    'http, https, tcp and gRPC pass; then liveness fails over http',
    { skip: ownRuntimeOnly },
    async (t) => {
      const pod = await node.until('servers', isReady);
      t.same(
        pod.status?.containerStatuses?.map(({ restartCount }) => restartCount),
        [0, 0],
      );
      await node.podwire(['exec', 'servers', '-c', 'all', '--', 'touch', '/tmp/sick']);
      await node.until('servers', (p) => first(p)?.restartCount === 1 && isReady(p));
      const told = await eventsOf('servers');
      t.ok(told.includes('Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 500'));
      t.ok(
        told.some((one) => one.startsWith('Unhealthy: Readiness probe failed: Get "https://10.207.0.')),
        'while nobody listened',
      );
    },
  );

  await t.test(
    'readiness: not before its delay, never restarted; a failing one is never ready',
    async (t) => {
      const pod = await node.until(
        'late',
        (p) => p?.status?.containerStatuses?.find((c) => c.name === 'ready')?.ready,
      );
      const ready = pod.status?.containerStatuses?.find(({ name }) => name === 'ready');
      const waited = Date.now() - Date.parse(ready?.state?.running?.startedAt ?? '');
      t.ok(waited >= 3000, `${waited} ms`);
      t.same(
        pod.status?.containerStatuses?.map(({ restartCount }) => restartCount),
        [0, 0],
      );
      t.match(
        pod.status?.conditions?.find(({ type }) => type === 'Ready'),
        { status: 'False', reason: 'ContainersNotReady', message: 'containers with unready status: [never]' },
      );
      t.match((await node.podwire(['get', 'pod', 'late'])).stdout, /late\s+1\/2\s+Running\s+0/);
      t.match(
        (await node.podwire(['describe', 'pod', 'late'])).stdout,
        /Readiness:\s+exec \[\/bin\/sh -c true\] delay=3s timeout=1s period=1s #success=1 #failure=3/,
      );
    },
  );

  await t.test('a startup probe holds the others back', async (t) => {
    const pod = await node.until('slow', isReady);
    t.match(first(pod), { started: true, restartCount: 0 });
    t.notOk((await eventsOf('slow')).some((one) => /Liveness/.test(one)));
  });

  await t.test("a startup probe's time-out: its own grace, its process group dead, no zombie", async (t) => {
    const pod = await node.until('stuck', (p) => (first(p)?.restartCount ?? 0) >= 1);
    const told = await eventsOf('stuck');
    t.ok(
      told.some((one) =>
        /^Unhealthy: Startup probe failed: command timed out: .* timed out after 1s/.test(one),
      ),
    );
    t.ok(told.includes('Killing: Container c failed startup probe, will be restarted'));
    t.match(first(pod)?.lastState?.terminated, { exitCode: 137 }, 'killed after one second, not a hundred');
    await node.podwire(['delete', 'pod', 'stuck', '--grace-period=1']);
  });

  await t.test(
    'an exec probe that times out leaves nothing in a container that lives on',
    { skip: ownRuntimeOnly },
    async (t) => {
      await apply('leaky', [
        shell('c', sleeper, { readinessProbe: { ...exec('sleep 77 & sleep 77'), periodSeconds: 600 } }),
      ]);
      await node.until('leaky', async () => (await eventsOf('leaky')).some((one) => /timed out/.test(one)));
      const pod = await node.until('leaky', () => true);
      const id = first(pod)?.containerID?.split('//')[1];
      // The next one begins ten minutes later: meanwhile there is nothing but the container's own.
      const left = (): string[] =>
        cgroupProcs(`${node.paths.cgroup}/pod${pod.metadata.uid}/${id}`)
          .map(stat)
          .filter((one) => /zombie|sleep 77/.test(one));
      await until(() => left().length === 0);
      t.same(left(), [], 'no process, no zombie');
      t.ok(await until(() => zombiesOf(node.pid()).length === 0), "and none of the daemon's own");
      await node.podwire(['delete', 'pod', 'leaky']);
    },
  );

  await t.test(
    'what passed was never restarted, over a new daemon too',
    { skip: ownRuntimeOnly },
    async (t) => {
      const before = await node.until('servers', isReady);
      await node.kill9();
      await node.up();
      const after = await node.until('servers', isReady);
      t.equal(first(await node.until('healthy', isReady))?.restartCount, 0);
      const since = (pod: Pod) =>
        pod.status?.conditions?.find(({ type }) => type === 'Ready')?.lastTransitionTime;
      t.equal(since(after), since(before), 'and never unready');
      const late = await node.until('slow', isReady);
      t.equal(first(late)?.started, true);
    },
  );
});

function stat(pid: number): string {
  try {
    const zombie = /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')) ? 'zombie ' : '';
    return `${zombie}${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`;
  } catch {
    return '';
  }
}

/** Children that have ended and that nobody has waited for. */
function zombiesOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        return /^State:\s+Z/m.test(status) && status.includes(`PPid:\t${parent}\n`);
      } catch {
        return false;
      }
    });
}
