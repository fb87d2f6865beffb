// A machine joins, runs Pods, and lives through what happens to its server, to itself and to its certificate: a lab of two.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { HttpClient } from '../../lib/api/http/client.ts';
import type { Pod } from '../../lib/api/types.ts';
import { type CommandResult, run } from '../../lib/exec/exec.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';
import { allReady } from '../../lib/lab/cluster.ts';
import { inside } from '../../lib/lab/machine.ts';
import { findMachine, type LabMachine } from '../../lib/lab/plan.ts';
import { readLab } from '../../lib/lab/record.ts';
import { groups, hashOfCertificate, validityOf } from '../../lib/pki/certificate.ts';
import { readKeyPair } from '../../lib/pki/files.ts';
import { createCa, issueKeyPair } from '../../lib/pki/issue.ts';
import { formatToken, parseToken } from '../../lib/pki/join-token.ts';
import { readCredentials, writeCredentials } from '../../lib/pki/membership.ts';
import { allCodes, hostPod, isRunning, processesOf, sleep, sleeper } from '../e2e/harness.ts';
import { until } from '../until.ts';

const name = 'join-test';
const podwire = join(import.meta.dirname, '../../bin/podwire');

t.test('a machine joins', async (t) => {
  const made = await run({
    argv: [podwire, 'lab', 'up', '--name', name, '--nodes', '2'],
    okCodes: allCodes,
    timeoutMs: 180_000,
  });
  t.teardown(async () => {
    const { exitCode, stderr } = await run({
      argv: [podwire, 'lab', 'down', '--name', name],
      okCodes: allCodes,
      timeoutMs: 180_000,
    });
    if (exitCode !== 0) throw new Error(`lab down: ${stderr}`);
  });
  t.equal(made.exitCode, 0, made.stderr);
  const { plan } = readLab(name);
  const one = findMachine(plan, 'node1');
  const two = findMachine(plan, 'node2');
  const on = (machine: LabMachine, ...args: string[]): Promise<CommandResult> =>
    run({
      argv: inside(machine, [podwire, ...args]),
      env: { PODWIRE_ROOT: machine.root },
      okCodes: allCodes,
      timeoutMs: 120_000,
    });
  const client = new HttpClient({ socketPath: nodePaths(one.root).socket });
  t.teardown(() => client.close());
  const untilPod = async (pod: string, met: (found: Pod | undefined) => unknown): Promise<Pod> => {
    let last: Pod | undefined;
    const isMet = async () => {
      const { items } = await client.list('pods', { fieldSelector: `metadata.name=${pod}` });
      last = items[0];
      return met(last);
    };
    // The server may be away.
    if (await until(() => isMet().catch(() => false))) return last as Pod;
    throw new Error(`pod ${pod}: not so after half a minute: ${JSON.stringify(last?.status)}`);
  };
  const containerId = (pod: Pod): string | undefined => pod.status?.containerStatuses?.[0]?.containerID;
  const kill = async (machine: LabMachine): Promise<void> => {
    const pid = processesOf(machine.root).find((each) => isDaemon(each));
    if (pid === undefined) throw new Error(`podwired does not run on ${machine.name}: ${logTail(machine)}`);
    process.kill(pid, 'SIGKILL');
    while (isDaemon(pid)) await sleep(10);
  };
  const up = async (t: Test, machine: LabMachine): Promise<void> => {
    const { exitCode, stderr } = await on(machine, 'up');
    t.equal(exitCode, 0, stderr);
  };

  const script = `echo "hello from $(hostname)"; ${sleeper}`;
  for (const [pod, nodeName] of [
    ['far', 'node2'],
    ['near', 'node1'],
  ] as const)
    await client.create('pods', hostPod(pod, { a: script }, { nodeName }));
  const far = await untilPod('far', isRunning);
  await untilPod('near', isRunning);

  await t.test('logs and exec through the server', async (t) => {
    t.ok(await until(async () => (await on(one, 'logs', 'far')).stdout === 'hello from far\n'));
    const told = await on(one, 'exec', 'far', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3');
    t.match(told, { exitCode: 3, stdout: 'out\n', stderr: /err/ });
    t.match(await on(one, 'logs', 'far', '-c', 'absent'), {
      exitCode: 1,
      stderr: /container absent is not valid/,
    });
  });

  await t.test('what the agent sees and may', async (t) => {
    const { metadata } = await client.get('nodes', { name: 'node2' });
    t.equal(metadata.labels?.['kubernetes.io/hostname'], 'node2');
    t.match((await on(two, 'get', 'nodes')).stdout, /node1 +Ready[\s\S]*node2 +Ready/);
    const { stdout } = await on(two, 'get', 'pods', '-A');
    t.match(stdout, /far/);
    t.notMatch(stdout, /near/);
    t.equal((await on(two, 'logs', 'far')).stdout, 'hello from far\n');
    t.equal((await on(two, 'exec', 'far', '--', 'hostname')).stdout, 'far\n');
    const forbidden = /Error from server \(Forbidden\).*a node sees its own Pods and all Nodes/;
    for (const words of [
      ['get', 'secrets', '-A'],
      ['delete', 'pod', 'near', '--now'],
      ['get', 'pod', 'near'],
    ])
      t.match(await on(two, ...words), { exitCode: 1, stderr: forbidden }, words.join(' '));
    t.match(await on(two, 'token', 'create'), { exitCode: 1, stderr: /ask on a server/ });
    t.match(await on(two, 'exec', 'near', '--', 'id'), { exitCode: 1 });
    t.ok(await untilPod('near', isRunning));
  });

  await t.test("a static Pod of the agent's", async (t) => {
    const file = join(nodePaths(two.root).manifests, 'still.yaml');
    writeFileSync(file, JSON.stringify(hostPod('still', { a: script })));
    t.match((await untilPod('still-node2', isRunning)).spec.nodeName, 'node2');
    const says = async () => (await on(one, 'logs', 'still-node2')).stdout;
    t.ok(await until(async () => (await says()) === 'hello from still-node2\n'));
    rmSync(file);
    await untilPod('still-node2', (pod) => pod === undefined);
  });

  await t.test(
    'the server is killed: Pods of the agent do not notice, and what changed is told later',
    async (t) => {
      await kill(one);
      t.equal(
        (await on(two, 'exec', 'far', '--', 'hostname')).stdout,
        'far\n',
        'exec on the node itself goes on',
      );
      t.match((await on(two, 'get', 'pods')).stdout, /far +1\/1 +Running/, 'as its kubelet knows it');
      t.match(await on(two, 'get', 'nodes'), { exitCode: 1, stderr: /the server \S+:6443 does not answer/ });
      await on(two, 'exec', 'far', '--', 'sh', '-c', 'kill 1');
      await sleep(1500);
      await up(t, one);
      const again = await untilPod(
        'far',
        (pod) => isRunning(pod) && pod?.status?.containerStatuses?.[0]?.restartCount === 1,
      );
      t.equal(again.metadata.uid, far.metadata.uid);
      t.equal(again.status?.podIP, far.status?.podIP, 'its sandbox is the same');
      t.equal((await on(one, 'exec', 'far', '--', 'hostname')).stdout, 'far\n');
    },
  );

  await t.test('the agent is killed and started: it knows from its disk what it is', async (t) => {
    const before = await untilPod('far', isRunning);
    await kill(two);
    t.match(await on(one, 'logs', 'far'), { exitCode: 1, stderr: /node "node2" .*does not answer/ });
    await up(t, two);
    t.equal(containerId(await untilPod('far', isRunning)), containerId(before));
    t.equal((await on(one, 'exec', 'far', '--', 'hostname')).stdout, 'far\n');
  });

  await t.test('tokens that do not hold, and names and addresses that are taken', async (t) => {
    const create = async (...flags: string[]): Promise<string> => {
      const { stdout, stderr } = await on(one, 'token', 'create', ...flags);
      return stdout.trim().split(' ').at(-1) ?? stderr;
    };
    const good = await create();
    const short = await create('--ttl', '1s');
    const other = (parts: object): string => formatToken({ ...parseToken(good), ...parts });
    t.match(await on(two, 'join', good), { exitCode: 1, stderr: /podwired runs on this machine already/ });
    t.equal((await on(two, 'down')).exitCode, 0);
    const caHash = hashOfCertificate((await createCa()).cert);
    const cases: [string, string[], RegExp][] = [
      ['cut off', [good.slice(0, -4)], /cut off or mistyped/],
      ['wrong secret', [other({ secret: 'x' })], /the secret of token \w+ is wrong/],
      ['expired', [short], /expired at .*; this server's clock says/],
      ['another CA', [other({ caHash })], /another CA than the token says/],
      [
        'nobody there',
        [other({ servers: ['172.30.229.77:6443'] })],
        /no server of the token answers: 172\.30\.229\.77/,
      ],
      [
        'name taken',
        [good, '--node-name', 'node1', '--node-ip', '172.30.229.9'],
        /name "node1" is another machine's/,
      ],
      [
        'address taken',
        [good, '--node-name', 'node9', '--node-ip', one.address],
        /address .* is that of node "node1"/,
      ],
    ];
    await sleep(1000);
    for (const [title, words, stderr] of cases)
      t.match(await on(two, 'join', ...words), { exitCode: 1, stderr }, title);
    const listed = (await on(one, 'token', 'list')).stdout;
    t.match(listed, parseToken(good).id);
    t.notMatch(listed, parseToken(short).id);
    t.equal((await on(one, 'token', 'delete', parseToken(good).id)).exitCode, 0);
    t.match(await on(two, 'join', good), { exitCode: 1, stderr: /the token is unknown here/ });
    const fresh = await create();
    const { exitCode, stdout, stderr } = await on(two, 'join', fresh, '--node-name', 'node2');
    t.equal(exitCode, 0, stderr);
    t.match(stdout, /as node "node2" at 172\.30\.229\.2/, 'the same machine may join again');
    t.ok(await untilPod('far', isRunning));
  });

  await t.test('certificates', async (t) => {
    const { pki } = nodePaths(two.root);
    const good = readCredentials(pki);
    const ca = readKeyPair(join(nodePaths(one.root).pki, 'ca.pem'))!;
    const identity = { name: 'system:node:node2', groups: [groups.nodes] };
    const use = async (when: { now?: number; lifeMs?: number }): Promise<void> =>
      writeCredentials(pki, {
        ...(await issueKeyPair(ca, { identity, hosts: ['node2'], ...when })),
        ca: good.ca,
      });
    t.equal((await on(two, 'down')).exitCode, 0);
    const clocks = /this machine's clock says \S+, the server's clock \S+:/;
    await use({ now: Date.now() - 7_200_000, lifeMs: 3_600_000 });
    const expired = await on(two, 'up');
    t.match(expired, { exitCode: 1, stderr: /the certificate of node "node2" expired at/ });
    t.match(expired.stderr, clocks);
    await use({ now: Date.now() + 3_600_000 });
    const early = await on(two, 'up');
    t.match(early, { exitCode: 1, stderr: /the certificate of node "node2" is valid only from/ });
    t.match(early.stderr, clocks);
    await use({ now: Date.now() - 900_000, lifeMs: 1_200_000 });
    const soon = validityOf(readCredentials(pki).cert).until;
    await up(t, two);
    t.ok(
      await until(() => validityOf(readCredentials(pki).cert).until > soon),
      'renewed by itself after two thirds of its life',
    );
    t.equal((await on(one, 'logs', 'far')).exitCode, 0, 'the server reaches it by the new one');
    t.match((await on(two, 'get', 'nodes')).stdout, /node2 +Ready/);
  });

  await t.test('an agent that starts before its server: it waits, can be asked, and goes on', async (t) => {
    const before = await untilPod('far', isRunning);
    await kill(two);
    await kill(one);
    t.match(await on(two, 'up'), {
      exitCode: 0,
      stdout: /podwired runs .*the server \S+:6443 does not answer/,
    });
    t.match(await on(two, 'up'), { exitCode: 0, stdout: /already running/, stderr: /waits for its servers/ });
    await up(t, one);
    t.ok(await until(async () => (await on(two, 'up')).stderr === ''), 'it waits no more');
    t.equal(containerId(await untilPod('far', isRunning)), containerId(before));
    t.equal((await on(one, 'exec', 'far', '--', 'hostname')).stdout, 'far\n');
  });

  await t.test('a kubeconfig opens the API to an administrator', async (t) => {
    const { stdout, exitCode } = await on(one, 'kubeconfig');
    t.equal(exitCode, 0);
    const field = (key: string): string =>
      Buffer.from(new RegExp(`${key}: (\\S+)`).exec(stdout)?.[1] ?? '', 'base64').toString();
    const server = /server: https:\/\/(\S+)/.exec(stdout)?.[1] ?? '';
    const credentials = {
      ca: field('certificate-authority-data'),
      cert: field('client-certificate-data'),
      key: field('client-key-data'),
    };
    // The lab's underlay is reachable from the machine that runs it.
    const admin = new HttpClient({ servers: () => [server], credentials: () => credentials });
    t.teardown(() => admin.close());
    t.equal((await admin.list('secrets', { namespace: 'kube-system' })).items.length > 0, true);
    const session = await admin.exec({ namespace: 'default', name: 'far' }, { command: ['hostname'] });
    let out = '';
    session.onStdout((chunk) => {
      out += chunk;
    });
    t.equal(await session.exit, 0);
    t.equal(out, 'far\n');
  });
  await t.test('a node that was removed comes back by a token alone', async (t) => {
    t.equal((await on(one, 'node', 'remove', 'node2', '--force')).exitCode, 0);
    await sleep(500);
    await kill(two);
    t.match(await on(two, 'up'), {
      exitCode: 1,
      stderr: /node "node2" is not of the cluster any more: it was removed; join again/,
    });
    const { stdout } = await on(one, 'token', 'create');
    t.match(await on(two, 'join', stdout.trim().split(' ').at(-1)!, '--node-name', 'node2'), { exitCode: 0 });
    await allReady(plan);
  });

  await t.test('it joins by another name, with Pods of its former subnet', async (t) => {
    const line = (await on(one, 'token', 'create')).stdout.trim().split(' ').at(-1)!;
    await client.create('pods', hostPod('left', { a: sleeper }, { nodeName: 'node2' }));
    await untilPod('left', isRunning);
    t.equal((await on(two, 'down')).exitCode, 0);
    const node = 'two.of-some.machines-with.long-names.example.com';
    const join = () => on(two, 'join', line, '--node-name', node);
    t.match(await join(), { exitCode: 1, stderr: /this machine is node "node2".*podwire node remove node2/ });
    t.equal((await on(one, 'node', 'remove', 'node2', '--force')).exitCode, 0);
    await client.create('nodes', { metadata: { name: 'takes-its-subnet' } });
    const { exitCode, stderr } = await join();
    t.equal(exitCode, 0, stderr);
    t.strictSame(readdirSync(nodePaths(two.root).sandboxes), [], 'the Pods of the former subnet are gone');
    t.equal((await on(two, 'down')).exitCode, 0);
    const up = await on(two, 'up', '--node-port', '10251');
    t.equal(up.exitCode, 0, `by the name of its join: ${up.stderr}`);
    const isWell = async () => {
      const { status } = await client.get('nodes', { name: node });
      return status?.conditions?.find(({ type }) => type === 'NetworkUnavailable')?.status === 'False';
    };
    t.ok(await until(isWell), 'long names fit the probes');
  });
});

/** What its daemon said last. */
const logTail = ({ root }: LabMachine): string =>
  readFileSync(join(nodePaths(root).logs, 'podwired.log'), 'utf8').slice(-3000);

function isDaemon(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('podwired.mjs');
  } catch {
    return false;
  }
}
