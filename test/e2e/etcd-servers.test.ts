// Three etcds and two API servers under a write load; the leading etcd is killed with SIGKILL, then one server. Afterwards
// every acknowledged write is there, none was made twice, and watches have told each once and in order.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { isReason } from '../../lib/api/errors.ts';
import { HttpClient } from '../../lib/api/http/client.ts';
import type { ConfigMap } from '../../lib/api/types.ts';
import { startEtcd, whyNoEtcd } from '../etcd/cluster.ts';
import { until } from '../until.ts';

const skip = whyNoEtcd();
if (skip) t.comment(`several servers over etcd are not tested: ${skip}`);
const loadMs = 4000;
const writers = 6;

interface Server {
  readonly client: HttpClient;
  kill9(): Promise<void>;
}

async function startServer(folder: string, name: string, endpoints: readonly string[]): Promise<Server> {
  const socket = join(folder, `${name}.sock`);
  const script = join(import.meta.dirname, '../etcd/api-server.ts');
  const child: ChildProcess = spawn(process.execPath, [script, socket, `etcd://${endpoints.join(',')}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const kill9 = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  await Promise.race([once(child.stdout!, 'data'), once(child, 'exit')]);
  if (child.exitCode !== null) throw new Error(`server ${name} ended at its start`);
  return { client: new HttpClient({ socketPath: socket }), kill9 };
}

/** What one writer did: each step makes an object of its own and then counts in one object. */
interface Log {
  readonly id: number;
  /** Steps whose creation was acknowledged, with the name given. */
  readonly created: Map<number, string>;
  /** Values of the counter whose write was acknowledged. */
  readonly counted: number[];
  lastCounted: number;
  failures: number;
  acknowledgedAt: number;
}

/** Writes until told to stop; where a server does not answer, goes to the next one. An error leaves open what was done. */
async function write(servers: readonly Server[], log: Log, stop: AbortSignal): Promise<void> {
  const { id } = log;
  let at = id;
  const attempt = async (work: (client: HttpClient) => Promise<void>): Promise<void> => {
    try {
      await work(servers[at % servers.length]!.client);
      log.acknowledgedAt = Date.now();
    } catch (error) {
      log.failures++;
      if (isReason(error, 'Conflict')) return; // read again
      at++;
      await sleep(20);
    }
  };
  for (let step = 1; !stop.aborted; step++) {
    await attempt(async (client) => {
      const metadata = {
        generateName: `w${id}-`,
        namespace: 'default',
        labels: { step: `${step}`, writer: `${id}` },
      };
      const { metadata: made } = await client.create('configmaps', {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata,
      });
      log.created.set(step, made.name);
    });
    await attempt(async (client) => {
      // Not idempotent on purpose: what is applied twice counts twice.
      const key = { namespace: 'default', name: `count-${id}` };
      const now = await client.get('configmaps', key);
      const count = Number(now.data?.count) + 1;
      log.lastCounted = count;
      await client.update('configmaps', { ...now, data: { count: `${count}` } });
      log.counted.push(count);
    });
  }
}

interface Seen {
  readonly told: ConfigMap[];
  resumed: number;
  expired: number;
}

/** Follows from a revision on, at the next server when one has gone, until the signal aborts. */
function follow(
  servers: readonly Server[],
  from: string,
  signal: AbortSignal,
): Seen & { readonly ended: Promise<void> } {
  const seen: Seen = { told: [], resumed: 0, expired: 0 };
  return Object.assign(seen, { ended: read(servers, { from, signal, seen }) });
}

async function read(
  servers: readonly Server[],
  { from, signal, seen }: { from: string; signal: AbortSignal; seen: Seen },
): Promise<void> {
  let resourceVersion = from;
  for (let at = 0; !signal.aborted; at++)
    try {
      const { client } = servers[at % servers.length]!;
      for await (const { type, object } of client.watch('configmaps', { resourceVersion, signal })) {
        resourceVersion = object.metadata.resourceVersion;
        if (type !== 'BOOKMARK') seen.told.push(object as ConfigMap);
      }
    } catch (error) {
      if (isReason(error, 'Expired')) seen.expired++;
      seen.resumed++;
      await sleep(50);
    }
}

t.test('a member of three etcds and one of two servers are killed under load', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'podwire-servers-'));
  const etcd = await startEtcd(3);
  const servers: Server[] = [];
  t.teardown(async () => {
    for (const server of servers) await server.kill9();
    await etcd.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const leader = await etcd.leader();
  const others = etcd.endpoints.filter((_, at) => at !== leader);
  // Both begin at the member that will die.
  for (const name of ['one', 'two'])
    servers.push(await startServer(folder, name, [etcd.endpoints[leader]!, ...others]));
  const survivor = servers[1]!;

  const logs = Array.from({ length: writers }, (_, id): Log => {
    return { id, created: new Map(), counted: [], lastCounted: 0, failures: 0, acknowledgedAt: 0 };
  });
  for (const { id } of logs)
    await survivor.client.create('configmaps', {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: `count-${id}`, namespace: 'default' },
      data: { count: '0' },
    });
  const { resourceVersion } = await survivor.client.list('configmaps');
  const [load, watching] = [new AbortController(), new AbortController()];
  const stayed = follow([survivor], resourceVersion, watching.signal);
  const moved = follow(servers, resourceVersion, watching.signal);
  const loads = logs.map((log) => write(servers, log, load.signal));

  const made = (): number => logs.reduce((sum, { created }) => sum + created.size, 0);
  const phase = async (name: string, fault: () => Promise<void>): Promise<void> => {
    const before = made();
    const began = Date.now();
    await fault();
    const at = Date.now();
    const hasWritten = (): boolean => logs.every(({ acknowledgedAt }) => acknowledgedAt > at);
    t.ok(await until(hasWritten), `${name}: every writer goes on`);
    const recoveryMs = Date.now() - at;
    await sleep(Math.max(0, loadMs - recoveryMs));
    const seconds = (Date.now() - began) / 1000;
    t.comment(
      `${name}: all ${writers} writers wrote again after ${recoveryMs} ms; ${made() - before} objects in ${seconds.toFixed(1)} s`,
    );
  };
  await phase('all well', async () => {});
  await phase('the leading etcd killed', () => etcd.kill(leader));
  await phase('a server killed', () => servers[0]!.kill9());
  load.abort();
  await Promise.all(loads);

  const { items } = await survivor.client.list('configmaps');
  const last = items.reduce((max, { metadata }) => Math.max(max, Number(metadata.resourceVersion)), 0);
  const watches = { stayed, moved };
  const revisionsOf = ({ told }: Seen): number[] =>
    told.map(({ metadata }) => Number(metadata.resourceVersion));
  for (const watch of [stayed, moved]) await until(() => revisionsOf(watch).at(-1) === last);
  watching.abort();
  await Promise.all([stayed.ended, moved.ended]);
  t.comment(`failures that writers saw: ${logs.map(({ failures }) => failures).join(' ')}`);

  const byName = new Map(items.map((item) => [item.metadata.name, item]));
  for (const log of logs) {
    const lost = [...log.created].filter(([, name]) => !byName.has(name));
    t.strictSame(lost, [], `writer ${log.id}: all ${log.created.size} acknowledged creations are there`);
    const steps = items.flatMap(({ metadata: { labels } }) =>
      labels?.writer === `${log.id}` ? [labels.step] : [],
    );
    t.equal(new Set(steps).size, steps.length, 'and none was made twice');
    const count = Number(byName.get(`count-${log.id}`)?.data?.count);
    const lastAcknowledged = log.counted.at(-1)!;
    t.ok(count >= lastAcknowledged && count <= log.lastCounted, `the counter stands at ${count}`);
    t.equal(
      new Set(log.counted).size,
      log.counted.length,
      'and no acknowledged value was written over by itself',
    );
  }
  for (const [name, watch] of Object.entries(watches)) {
    const { told, expired } = watch;
    const revisions = revisionsOf(watch);
    t.ok(
      revisions.every((one, at) => at === 0 || one > revisions[at - 1]!),
      `watch ${name}: each write once and in order (${revisions.length})`,
    );
    t.equal(expired, 0);
    t.equal(revisions.at(-1), last, 'up to the last');
    const names = new Set(told.map(({ metadata }) => metadata.name));
    const missed = items.filter(({ metadata }) => !names.has(metadata.name) && metadata.labels?.writer);
    t.strictSame(missed, [], 'and no object missed');
    for (const { id, counted } of logs) {
      const values = told.flatMap((one) =>
        one.metadata.name === `count-${id}` ? [Number(one.data?.count)] : [],
      );
      t.strictSame(
        counted.filter((value) => !values.includes(value)),
        [],
        `nor a value of counter ${id}`,
      );
      t.strictSame(
        values,
        values.map((_, at) => at + 1),
        'which went up by one each time',
      );
    }
  }
  t.equal(watches.stayed.resumed, 0, 'the watch at the server that stayed was never cut');
  t.ok(watches.moved.resumed > 0, 'the other one was');
});
