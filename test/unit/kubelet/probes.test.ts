import t from 'tap';
import type { Probe } from '../../../lib/api/types.ts';
import type { EventInput, EventRecorder } from '../../../lib/api/events.ts';
import type { ContainerStatus, RuntimeService } from '../../../lib/container/cri.ts';
import { ExecError } from '../../../lib/exec/errors.ts';
import { commandOf, httpTarget, portOf } from '../../../lib/kubelet/handlers.ts';
import { runHook } from '../../../lib/kubelet/hooks.ts';
import { ProbeManager } from '../../../lib/kubelet/prober/manager.ts';
import { count, emptyTally, firstDelayMs, type Verdict } from '../../../lib/kubelet/prober/tally.ts';
import { until } from '../../until.ts';
import { container, pod, sandbox } from './fixtures.ts';

const thresholds: Probe = { successThreshold: 2, failureThreshold: 3 };
const tallies: { results: string; verdicts: string }[] = [
  { results: 'SSSS', verdicts: '-SSS' },
  { results: 'FFFF', verdicts: '--FF' },
  { results: 'FFSFF', verdicts: '-----' },
  { results: 'SSFFSFFF', verdicts: '-S-----F' },
];
const words = { S: 'success', F: 'failure' } as const;
for (const { results, verdicts } of tallies)
  t.test(`verdicts of ${results}`, async (t) => {
    let tally = emptyTally;
    const got = [...results].map((one) => {
      const counted = count(tally, words[one as 'S' | 'F'] as Verdict, thresholds);
      tally = counted.tally;
      return counted.verdict === undefined ? '-' : counted.verdict === 'success' ? 'S' : 'F';
    });
    t.equal(got.join(''), verdicts);
  });

t.test('when a probe first runs', async (t) => {
  const probe = { initialDelaySeconds: 5, periodSeconds: 4 };
  t.equal(firstDelayMs(probe, { startedAt: 1000, isAdopted: false }, 2000), 4000);
  t.equal(firstDelayMs(probe, { startedAt: 1000, isAdopted: true }, 2000), 4000);
  t.equal(firstDelayMs(probe, { startedAt: 1000, isAdopted: false }, 60_000), 0);
  const spread = firstDelayMs(probe, { startedAt: 1000, isAdopted: true }, 60_000);
  t.ok(spread >= 0 && spread < 4000);
});

t.test('ports, targets and commands', async (t) => {
  const spec = {
    name: 'a',
    ports: [{ name: 'web', containerPort: 8080 }],
    env: [{ name: 'FILE', value: '/tmp/x' }],
  };
  const subject = { container: spec, containerId: 'c1', podIP: '10.1.2.3' };
  t.equal(portOf(80, spec), 80);
  t.equal(portOf('web', spec), 8080);
  t.throws(() => portOf('db', spec), { code: 'HANDLER_PORT', message: /couldn't find port: "db"/ });
  t.match(httpTarget({ port: 'web' }, subject), { scheme: 'http', host: '10.1.2.3', port: 8080, path: '/' });
  t.match(httpTarget({ port: 1, host: 'h', scheme: 'HTTPS', path: '/a' }, subject), {
    scheme: 'https',
    host: 'h',
    path: '/a',
  });
  t.same(commandOf(['cat', '$(FILE)', '$(NO)'], spec), ['cat', '/tmp/x', '$(NO)']);
  const ran: unknown[] = [];
  const execSync = async (_: string, { argv }: { argv: readonly string[] }) => {
    ran.push(argv);
    return { exitCode: 0, output: '' };
  };
  const command = ['sh', '-c', 'echo $$ $(FILE)'];
  const runtime = { execSync } as unknown as RuntimeService;
  await runHook(runtime, { exec: { command } }, subject, new AbortController().signal);
  t.same(ran, [command], 'a hook says what its shell is to read');
});

/** A manager over a runtime in which every exec gives what the test says. */
function managed(spec: object, answer: () => Promise<{ exitCode: number; output: string }>) {
  const changes: string[] = [];
  const events: EventInput[] = [];
  const manager = new ProbeManager({
    runtime: { execSync: answer } as unknown as RuntimeService,
    events: { record: (_: unknown, event: EventInput) => events.push(event) } as unknown as EventRecorder,
    onChange: (_, type) => changes.push(type),
  });
  const of = pod({ containers: [{ name: 'a', image: 'i', ...spec }] });
  const sync = (containers: ContainerStatus[], more: object = {}): void =>
    manager.sync({ pod: of, runtime: { sandboxes: [sandbox()], containers }, podIP: '10.0.0.1', ...more });
  return { manager, changes, events, of, sync, results: () => manager.resultsOf(of) };
}
const running = (): ContainerStatus => container({ startedAt: new Date().toISOString() });
const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const exec = { command: ['x'] };
const quick = { exec, periodSeconds: 0.02, timeoutSeconds: 1, successThreshold: 1, failureThreshold: 2 };

t.test('a startup probe holds the others back, and ends', async (t) => {
  let exitCode = 1;
  let asked = 0;
  const spec = { startupProbe: { ...quick, failureThreshold: 100 }, readinessProbe: quick };
  const m = managed(spec, async () => {
    asked += 1;
    return { exitCode, output: 'not yet' };
  });
  const it = running();
  t.notOk(m.results().isStarted(it), 'nobody has asked it');
  m.sync([it]);
  await until(() => asked >= 3);
  t.notOk(m.results().isStarted(it));
  t.same(m.changes, []);
  t.match(m.events[0], { reason: 'Unhealthy', message: 'Startup probe failed: not yet', container: 'a' });
  exitCode = 0;
  t.ok(await until(() => m.results().isReady(it)));
  t.ok(m.results().isStarted(it));
  t.same(m.changes, ['startup', 'readiness']);
  m.sync([]);
  const after = asked;
  await tick(60);
  t.equal(asked, after, 'nobody asks a container that is gone');
  t.notOk(m.results().isReady(it));
  m.manager.close();
});

t.test('a failed liveness probe is told once, and not asked again', async (t) => {
  let asked = 0;
  const m = managed({ livenessProbe: quick }, async () => {
    asked += 1;
    throw new ExecError('EXEC_TIMEOUT', 'late', { argv: ['x'] });
  });
  const it = running();
  m.sync([it]);
  t.equal(m.results().failedProbe(it), undefined);
  t.ok(await until(() => m.results().failedProbe(it) === 'liveness'));
  await tick(60);
  t.ok(m.results().isReady(it), 'it has no readiness probe');
  t.same([asked, m.changes], [2, ['liveness']]);
  t.equal(m.events[0]?.message, 'Liveness probe failed: command timed out: "x" timed out after 1s');
  m.manager.close();
});

t.test('a probe that cannot be asked counts for nothing', async (t) => {
  let asked = 0;
  const m = managed({ livenessProbe: quick }, async () => {
    asked += 1;
    throw new Error('no room');
  });
  const it = running();
  m.sync([it]);
  await until(() => asked > quick.failureThreshold + 1);
  t.equal(m.results().failedProbe(it), undefined);
  t.match(m.events[0]?.message, 'Liveness probe errored: no room');
  m.manager.close();
});

t.test('a Pod that ends is asked for its readiness only', async (t) => {
  const asked: string[] = [];
  const commands = { livenessProbe: { ...quick, exec: { command: ['live'] } } };
  const spec = { ...commands, readinessProbe: { ...quick, exec: { command: ['ready'] } } };
  const m = managed(spec, async (...args: unknown[]) => {
    asked.push((args[1] as { argv: string[] }).argv[0] ?? '');
    return { exitCode: 0, output: '' };
  });
  const it = running();
  m.sync([it]);
  await until(() => asked.includes('live') && asked.includes('ready'));
  m.sync([it], { isTerminating: true });
  await tick(10); // one may be under way
  asked.length = 0;
  await until(() => asked.length >= 4);
  t.same(new Set(asked), new Set(['ready']));
  m.manager.forget('u1');
});

t.test('a new daemon believes what the status says of this very container', async (t) => {
  const m = managed({ startupProbe: quick, readinessProbe: quick }, async () => ({
    exitCode: 0,
    output: '',
  }));
  const it = running();
  const known = { name: 'a', image: 'i', imageID: '', restartCount: 0, state: { running: {} } };
  const status = { ...known, containerID: 'podwire://c1', ready: true, started: true };
  m.of.status = { containerStatuses: [status] };
  m.sync([it]);
  t.ok(m.results().isStarted(it));
  t.ok(m.results().isReady(it));
  const another = { ...it, id: 'c2' };
  m.sync([another]);
  t.notOk(m.results().isReady(another), 'not of its successor');
  m.manager.close();
});
