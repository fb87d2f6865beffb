// Who leads, when it ends and who comes next: several electors over one registry, on a clock of the test's own.
import t, { type Test } from 'tap';
import type { Client } from '../../../lib/api/client.ts';
import { Registry } from '../../../lib/apiserver/registry/registry.ts';
import {
  type Clock,
  leaseDurationMs,
  renewDeadlineMs,
  retryPeriodMs,
  runAsLeader,
} from '../../../lib/controllers/leader.ts';
import { openSqliteStore } from '../../../lib/store/sqlite.ts';

class TestClock implements Clock {
  #now = 0;
  #sleepers: Array<{ at: number; wake: () => void }> = [];

  now(): number {
    return this.#now;
  }

  /** Goes with the clock: two renewals in one millisecond of the machine's would be the same Lease, so none. */
  date(): number {
    return Date.UTC(2026, 0) + this.#now;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#sleepers.push({ at: this.#now + ms, wake: resolve });
      signal.addEventListener('abort', () => resolve(), { once: true });
      if (signal.aborted) resolve();
    });
  }

  /** In steps of 100 ms, each with time for all that follows from it. */
  async pass(ms: number): Promise<void> {
    await settle();
    for (const end = this.#now + ms; this.#now < end; ) {
      this.#now += 100;
      const due = this.#sleepers.filter(({ at }) => at <= this.#now);
      this.#sleepers = this.#sleepers.filter(({ at }) => at > this.#now);
      for (const { wake } of due) wake();
      await settle();
    }
  }
}

/** Calls to the registry that are under way: their time is the machine's, not the clock's, so the clock stands still meanwhile. */
const calls = new Set<Promise<unknown>>();

/** Until nothing more follows: the registry has answered every call and those who waited for the answers have gone on. */
async function settle(): Promise<void> {
  for (let quiet = 0; quiet < 3; quiet++) {
    if (calls.size > 0) {
      await Promise.allSettled(calls);
      quiet = 0;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function counted<T>(call: Promise<T>): Promise<T> {
  const ended = (): void => void calls.delete(call);
  calls.add(call);
  call.then(ended, ended);
  return call;
}

interface Elector {
  readonly clock: TestClock;
  leads: boolean;
  terms: number;
  /** Its calls never come back. */
  isCutOff: boolean;
  readonly errors: unknown[];
  stop(): Promise<void>;
}

async function makeRegistry(t: Test): Promise<Registry> {
  const store = openSqliteStore({ path: ':memory:' });
  const registry = new Registry({ store });
  await registry.start();
  t.teardown(async () => {
    await registry.close();
    await store.close();
  });
  return registry;
}

function elect(registry: Registry, identity: string, clock: TestClock): Elector {
  const ending = new AbortController();
  const elector = { clock, leads: false, terms: 0, isCutOff: false, errors: [] as unknown[] };
  const guard =
    <A extends unknown[], T>(call: (...args: A) => Promise<T>) =>
    (...args: A): Promise<T> =>
      elector.isCutOff ? new Promise(() => {}) : counted(call(...args));
  const client = {
    get: guard(registry.get.bind(registry)),
    create: guard(registry.create.bind(registry)),
    update: guard(registry.update.bind(registry)),
  } as unknown as Client;
  const onError = (error: unknown) => void elector.errors.push(error);
  const options = { client, name: 'test', identity, signal: ending.signal, clock, onError };
  const running = runAsLeader(options, async (signal) => {
    elector.leads = true;
    elector.terms++;
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    elector.leads = false;
  });
  const stop = async (): Promise<void> => {
    ending.abort();
    await running;
  };
  return Object.assign(elector, { stop });
}

const lease = (registry: Registry) => registry.get('leases', { namespace: 'kube-system', name: 'test' });

t.test('one leads, and when it stops another begins at its next try', async (t) => {
  const registry = await makeRegistry(t);
  const clock = new TestClock();
  const all = ['a', 'b', 'c'].map((identity) => elect(registry, identity, clock));
  await clock.pass(60_000);
  const leaders = all.filter(({ leads }) => leads);
  t.equal(leaders.length, 1);
  t.equal(leaders[0]!.terms, 1, 'for the whole time');
  t.match((await lease(registry)).spec, { leaseDurationSeconds: 15, leaseTransitions: 0 });
  await leaders[0]!.stop();
  t.notOk(leaders[0]!.leads, 'its work has ended when it has ended');
  t.equal((await lease(registry)).spec?.holderIdentity, '', 'and the Lease is free');
  await clock.pass(4500);
  t.equal(all.filter(({ leads }) => leads).length, 1);
  t.match((await lease(registry)).spec, { leaseTransitions: 1 });
  for (const one of all) await one.stop();
  t.strictSame(
    all.flatMap(({ errors }) => errors),
    [],
  );
});

t.test('a leader that cannot renew stops before another begins', async (t) => {
  const registry = await makeRegistry(t);
  const clock = new TestClock();
  const a = elect(registry, 'a', clock);
  await clock.pass(3000);
  t.ok(a.leads);
  const b = elect(registry, 'b', clock);
  await clock.pass(20_000);
  t.notOk(b.leads);
  a.isCutOff = true;
  let both = false;
  let [aEnded, bBegan] = [0, 0];
  for (let ms = 0; ms < 30_000; ms += 100) {
    await clock.pass(100);
    both ||= a.leads && b.leads;
    if (!a.leads) aEnded ||= ms;
    if (b.leads) bBegan ||= ms;
  }
  t.notOk(both);
  t.ok(aEnded > 0 && aEnded <= renewDeadlineMs, `it stopped after ${aEnded} ms`);
  // b counts from when it saw the last renewal (up to a period before the cut, up to a wait after), then looks after each wait.
  const longestWaitMs = 2.2 * retryPeriodMs;
  const [earliest, latest] = [leaseDurationMs - retryPeriodMs, leaseDurationMs + 2 * longestWaitMs];
  t.ok(bBegan >= earliest && bBegan <= latest, `the next began after ${bBegan} ms`);
  a.isCutOff = false;
  await clock.pass(20_000);
  t.notOk(a.leads, 'the former one waits now');
  t.ok(b.leads);
  await b.stop();
  await clock.pass(5000);
  t.ok(a.leads, 'and comes again');
  t.equal(a.terms, 2);
  await a.stop();
});

t.test('clocks that differ by hours do not matter', async (t) => {
  const registry = await makeRegistry(t);
  const [early, late] = [new TestClock(), new TestClock()];
  await late.pass(100);
  const a = elect(registry, 'a', early);
  await early.pass(1000);
  await registry.patch(
    'leases',
    { namespace: 'kube-system', name: 'test' },
    {
      spec: { renewTime: '2001-01-01T00:00:00.000000Z' },
    },
  );
  const b = elect(registry, 'b', late);
  await late.pass(14_000);
  t.notOk(b.leads, 'a Lease that looks old is only seen for 14 s yet');
  await late.pass(5500);
  t.ok(b.leads, 'but has not changed for 15 s now');
  await early.pass(4100);
  t.notOk(a.leads, 'who finds it taken stops');
  await a.stop();
  await b.stop();
});

t.test('work that ends or fails by itself gives the Lease back', async (t) => {
  const registry = await makeRegistry(t);
  const options = { client: registry, name: 'test', signal: new AbortController().signal };
  await runAsLeader({ ...options, identity: 'a' }, async () => {});
  t.equal((await lease(registry)).spec?.holderIdentity, '');
  await t.rejects(
    runAsLeader({ ...options, identity: 'b' }, async () => {
      throw new Error('no work today');
    }),
    { message: 'no work today' },
  );
  t.equal((await lease(registry)).spec?.holderIdentity, '');
});
