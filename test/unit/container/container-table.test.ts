// The table of containers when things fail: one container's trouble, a full disk or a watch that cannot be had must
// neither end the daemon nor keep the others from their ends. Records are written by hand; no runtime runs.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  type ContainerRecord,
  containerFiles,
  newContainerId,
  saveContainer,
} from '../../../lib/container/container-record.ts';
import { ContainerTable } from '../../../lib/container/container-table.ts';
import { ociRuntime } from '../../../lib/container/oci/runtime.ts';
import type { Exec } from '../../../lib/exec/exec.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { identify } from '../../../lib/kernel/process.ts';
import { until } from '../../until.ts';

type Tap = typeof t;
/** There is nothing mounted, and the OCI runtime fails. */
const failing: Exec = async ({ argv }) => {
  if (argv[0] !== 'umount') throw new Error('crun: out of order');
  return { stdout: '', stderr: '', exitCode: 0 };
};

function makeNode(t: Tap, exec: Exec = failing) {
  const root = mkdtempSync(join(tmpdir(), 'podwire-table-'));
  const paths = nodePaths(root);
  for (const folder of [paths.containers, paths.overlay, paths.exits]) mkdirSync(folder, { recursive: true });
  const warnings: Array<[string, string]> = [];
  const table = new ContainerTable({
    paths,
    exec,
    runtimeOf: () => ociRuntime('/nonexistent/crun', join(paths.run, 'oci')),
    warn: (podUid, message) => warnings.push([podUid, message]),
  });
  const children: ChildProcess[] = [];
  t.teardown(() => {
    table.close();
    for (const child of children) child.kill('SIGKILL');
    rmSync(root, { recursive: true, force: true });
  });
  /** A record on disk whose process is a sleep of ours, and whose conmon is this process. */
  const record = (more: Partial<ContainerRecord> = {}) => {
    const id = newContainerId();
    const files = containerFiles(paths, id);
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    children.push(child);
    const made = {
      id,
      sandboxId: 'sandbox',
      podUid: 'uid',
      namespace: 'ns',
      podName: 'pod',
      config: { name: 'main', attempt: 0, image: 'i', hash: 'h', logPath: '/l' },
      imageId: '',
      createdAt: new Date().toISOString(),
      cgroup: `podwire-none-${process.pid}/${id}`,
      stopSignal: 15,
      sharesPids: false,
      state: 'running',
      pid: identify(child.pid!)!,
      conmon: identify(process.pid)!,
      ...more,
    } as ContainerRecord;
    mkdirSync(files.bundle);
    saveContainer(files, made);
    return { id, files, child };
  };
  return { paths, table, warnings, record };
}

t.test('what cannot be recovered is told and kept, and the others are recovered', async (t) => {
  const { table, warnings, record } = makeNode(t as Tap);
  const half = record({ state: 'creating' });
  mkdirSync(half.files.conmonPid); // reading it fails, and so does undoing
  const unknown = record({ state: 'starting' });
  const unreadable = record();
  rmSync(unreadable.files.record);
  mkdirSync(unreadable.files.record);
  const fine = record();
  await table.recover();
  t.match(table.get(half.id).record, {
    state: 'exited',
    exit: { reason: 'ContainerStatusUnknown', message: /EISDIR/ },
  });
  t.match(table.get(unknown.id).record, {
    state: 'exited',
    exit: { code: 137, message: /could not be found out: crun: out of order/ },
  });
  t.ok(await until(() => unknown.child.signalCode === 'SIGKILL'), 'what it does is not known: it was ended');
  t.match(table.get(fine.id).record, { state: 'running', exit: undefined });
  t.notOk(existsSync(unreadable.files.bundle), 'one without a readable record is undone');
  t.match(
    JSON.parse(readFileSync(half.files.record, 'utf8')),
    { state: 'creating' },
    'the next start tries again',
  );
  t.same(
    warnings.map(([podUid, message]) => [podUid, /EISDIR/.test(message)]),
    [['uid', true]],
  );
  rmSync(half.files.conmonPid, { recursive: true });
  await table.forget(table.get(half.id));
  t.notOk(existsSync(half.files.bundle), 'it can be removed when the trouble is over');
});

t.test('what is left of containers without a record goes', async (t) => {
  const { table, paths, warnings, record } = makeNode(t as Tap);
  const known = record();
  const gone = containerFiles(paths, newContainerId());
  mkdirSync(gone.upper, { recursive: true });
  writeFileSync(containerFiles(paths, newContainerId()).exit, '0');
  writeFileSync(`${gone.exit}.A1B2C3`, '');
  writeFileSync(`${known.files.exit}.A1B2C3`, '');
  mkdirSync(known.files.upper, { recursive: true });
  mkdirSync(join(paths.overlay, 'lost+found'));
  await table.recover();
  t.same(readdirSync(paths.overlay).sort(), [known.id, 'lost+found'].sort());
  t.same(readdirSync(paths.exits), [`${known.id}.A1B2C3`]);
  t.same(warnings, []);
});

t.test('an end that cannot be written down is an end', async (t) => {
  const { table, warnings, record } = makeNode(t as Tap);
  const one = record();
  await table.recover();
  const told: string[] = [];
  table.onExit(() => {
    throw new Error('a listener of little worth');
  });
  table.onExit((live) => told.push(live.record.id));
  rmSync(one.files.bundle, { recursive: true }); // writing the record fails as on a full disk
  const stopped = table.askToStop(table.get(one.id), 60);
  writeFileSync(one.files.exit, '3');
  t.equal(await stopped, true, 'who waits is woken');
  t.match(table.get(one.id).record, { state: 'exited', exit: { code: 3 } });
  t.same(told, [one.id]);
  t.match(
    warnings.map(([, message]) => message),
    [/record could not be written.*ENOENT/, /a listener of little worth/],
  );
});

t.test('an exit file that cannot be read is told once, and harms nobody else', async (t) => {
  const { table, warnings, record } = makeNode(t as Tap);
  const [bad, good] = [record(), record()];
  await table.recover();
  mkdirSync(bad.files.exit);
  writeFileSync(good.files.exit, '0');
  t.ok(await until(() => table.get(good.id).record.exit !== undefined));
  await new Promise((resolve) => setTimeout(resolve, 2200)); // two more looks
  t.match(warnings, [['uid', /EISDIR/]]);
  t.equal(table.get(bad.id).record.exit, undefined);
});

t.test('a grace period longer than a timer is not over at once', async (t) => {
  const { table, record } = makeNode(t as Tap);
  const one = record({ stopSignal: 18 }); // SIGCONT does nothing to it
  await table.recover();
  const asked = table.askToStop(table.get(one.id), 2_592_000);
  const first = await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 100, 'waits'))]);
  t.equal(first, 'waits');
  writeFileSync(one.files.exit, '0');
  t.equal(await asked, true);
});

// A user namespace of one's own has its own count of inotify instances.
const noWatches = ['-Ur', 'sh', '-c', 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"', 'sh'];
const noNamespace =
  spawnSync('unshare', [...noWatches, 'true']).status !== 0 && 'no user namespace can be made here';

t.test('without inotify the look every second finds the ends', { skip: noNamespace }, async (t) => {
  const exits = t.testdir();
  const module = JSON.stringify(join(import.meta.dirname, '../../../lib/container/exit-watcher.ts'));
  const script = `
    const { ExitWatcher } = await import(${module});
    const { writeFileSync } = await import('node:fs');
    const watcher = new ExitWatcher({
      exits: ${JSON.stringify(exits)},
      live: () => [{ id: 'a' }],
      isLive: () => true,
      onLost: () => {},
      onError: (error) => console.log(error.code),
      onExit: (id, exit) => { console.log(id, exit.code); watcher.close(); clearInterval(alive); },
    });
    writeFileSync(${JSON.stringify(join(exits, 'a'))}, '7');
    const alive = setInterval(() => {}, 1000);`;
  const child = [...noWatches, process.execPath, '--input-type=module', '-e', script];
  t.equal(execFileSync('unshare', child, { encoding: 'utf8' }), 'EMFILE\na 7\n');
});
