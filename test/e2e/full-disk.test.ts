// Full disks, one folder at a time and all at once: what cannot be made is told so, what runs goes on, what is deleted goes, nothing
// half-written is read later, and when space comes back all goes on. Each folder is a small tmpfs of its own.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { mountTmpfs, unmount } from '../../lib/kernel/mount.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import { faultsAtRest } from './chaos.ts';
import { hostPod, isRunning, sleep, sleeper, startNode, type TestNode } from './harness.ts';
import { until } from '../until.ts';
import { kernelFacts } from './kernel-facts.ts';

/** Mount points below the root, outermost first, and their sizes. */
const disks: readonly (readonly [string, string])[] = [
  ['run', '24m'],
  ['var/lib', '40m'],
  ['var/lib/podwire/cni', '2m'],
  ['var/lib/podwire/pods', '8m'],
  ['var/log', '8m'],
];
const at = (paths: NodePaths, disk: string): string => join(paths.root, disk);

async function mountDisks(paths: NodePaths): Promise<() => Promise<void>> {
  for (const [disk, size] of disks) {
    mkdirSync(at(paths, disk), { recursive: true });
    await mountTmpfs({ target: at(paths, disk), options: `size=${size},mode=0755` });
  }
  return async () => {
    for (const [disk] of disks.toReversed()) await unmount(at(paths, disk));
  };
}

const filler = (paths: NodePaths, disk: string): string => join(at(paths, disk), 'filler');

/** Takes all that is left, to the last page. */
function fill(paths: NodePaths, disk: string): void {
  for (let block = 1 << 20; block >= 4096; block >>= 1)
    try {
      for (;;) writeFileSync(filler(paths, disk), Buffer.alloc(block), { flag: 'a' });
    } catch {
      // smaller ones may still fit
    }
}

const free = (paths: NodePaths, disk: string): void => rmSync(filler(paths, disk), { force: true });

async function eventsOf(node: TestNode, name: string): Promise<string> {
  const { items } = await node.client.list('events', { namespace: 'default' });
  return items
    .filter((event) => event.involvedObject.name === name)
    .map((event) => `${event.reason}: ${event.message}`)
    .join('\n');
}

async function untilTold(node: TestNode, name: string, what: RegExp): Promise<string> {
  let told = '';
  const isTold = async () => {
    told = await eventsOf(node, name);
    return what.test(told);
  };
  if (await until(isTold)) return told;
  throw new Error(`${name}: no event ${what}, but\n${told}`);
}

/** All Pods are as they should be, and the node has what they need and nothing else. */
async function checkAtRest(t: Test, node: TestNode): Promise<void> {
  let faults: string[] = [];
  await until(async () => {
    const { items } = await node.client.list('pods', { namespace: 'default' });
    const facts = await kernelFacts(node.paths.root);
    const mounts = facts.mounts.filter((path) => !disks.some(([disk]) => path === at(node.paths, disk)));
    faults = faultsAtRest(items, { ...facts, mounts }, (name) => name.startsWith('fd-'));
    return faults.length === 0;
  });
  t.same(faults, [], 'the node has what its Pods need and nothing else');
}

/** No file that podwire reads is cut short, and no temporary file is left. */
function checkWhole(t: Test, { paths }: TestNode): void {
  const look = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const file = join(folder, entry.name);
      if (entry.isDirectory() && !['rootfs', 'oci', 'shm'].includes(entry.name)) look(file);
      if (/\.(tmp|lease)$/.test(entry.name)) t.fail(`left: ${file}`);
      if (entry.isFile() && entry.name.endsWith('.json'))
        t.doesNotThrow(() => JSON.parse(readFileSync(file, 'utf8')), file);
    }
  };
  for (const folder of [paths.run, paths.cni]) look(folder);
}

const size = 40_000;
const configMap = (letter: string): object => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'big' },
  data: { one: letter.repeat(size), two: letter.repeat(size) },
});

t.test('full disks', async (t) => {
  const node = await startNode(t, {
    podCidr: '10.215.0.0/24',
    runtime: 'crun',
    flags: ['--eviction-hard', ''], // a node short of disk evicts Pods: here they are to live with it
    prepare: mountDisks,
  });
  const { paths } = node;
  const pod = (name: string, script = sleeper, spec: object = {}): object =>
    hostPod(name, { a: script }, spec);
  const reader = (name: string): object => {
    const volumes = [{ name: 'big', configMap: { name: 'big' } }];
    const made = pod(name, sleeper, { volumes }) as { spec: { containers: Record<string, unknown>[] } };
    made.spec.containers[0]!.volumeMounts = [{ name: 'big', mountPath: '/big' }];
    return made;
  };
  await node.client.create('configmaps', configMap('a'), { namespace: 'default' });
  await node.apply(reader('fd-reader'));
  await node.apply(pod('fd-teller', 'i=0; while :; do i=$((i+1)); echo "line $i of many"; sleep 0.05; done'));
  await node.until('fd-reader', isRunning);
  await node.until('fd-teller', isRunning);
  const daemon = node.pid();

  const cases = [
    { disk: 'run', told: /FailedCreatePodSandBox.*(ENOSPC|No space left)/i },
    { disk: 'var/lib/podwire/cni', told: /FailedCreatePodSandBox.*(ENOSPC|No space left)/i },
    { disk: 'var/lib/podwire/pods', told: /FailedMount.*(ENOSPC|no space left)/i },
  ];
  for (const { disk, told } of cases)
    await t.test(`${disk} is full`, async (t) => {
      const name = `fd-${disk.split('/').at(-1)}`;
      fill(paths, disk);
      await node.apply(reader(name));
      t.ok(await untilTold(node, name, told), 'why it cannot be made is told');
      t.equal((await node.podwire(['delete', 'pod', 'fd-going', '--ignore-not-found'])).exitCode, 0);
      await node.kill9();
      await node.up();
      t.ok(
        await node.until('fd-teller', isRunning),
        'the daemon starts on a full disk, and what ran goes on',
      );
      await node.apply(pod('fd-short'));
      t.equal(
        (await node.podwire(['delete', 'pod', 'fd-short', '--timeout=60s'])).exitCode,
        0,
        'one can be deleted',
      );
      free(paths, disk);
      await node.until(name, isRunning);
      t.equal((await node.podwire(['delete', 'pod', name])).exitCode, 0);
      await checkAtRest(t, node);
      checkWhole(t, node);
    });

  await t.test(
    'a volume that cannot be written anew keeps all of the old, then has all of the new',
    async (t) => {
      const read = async (): Promise<string> => {
        const { stdout } = await node.podwire([
          'exec',
          'fd-reader',
          '--',
          'sh',
          '-c',
          'cat /big/one /big/two | fold -w 1 | sort | uniq -c',
        ]);
        return stdout.trim().replace(/\s+/g, ' ');
      };
      t.equal(await read(), `${2 * size} a`);
      fill(paths, 'var/lib/podwire/pods');
      await node.apply(configMap('b'));
      await untilTold(node, 'fd-reader', /FailedMount.*(ENOSPC|no space left)/i);
      t.equal(await read(), `${2 * size} a`, 'the old contents, whole');
      free(paths, 'var/lib/podwire/pods');
      t.ok(await until(async () => (await read()) === `${2 * size} b`), 'the new contents, whole');
    },
  );

  await t.test('all is full', async (t) => {
    await node.apply(pod('fd-going'));
    const going = await node.until('fd-going', isRunning);
    for (const [disk] of disks) fill(paths, disk);
    const before = node.pid();
    const refused = await node.podwire(['apply', '-f', '-'], JSON.stringify(pod('fd-new')));
    t.equal(refused.exitCode, 1);
    t.match(refused.stderr, /disk is full/);
    await sleep(300);
    t.equal(
      (await node.podwire(['delete', 'pod', 'fd-going', '--timeout=60s'])).exitCode,
      0,
      'what is deleted goes',
    );
    const { cgroups, leases } = await kernelFacts(paths.root);
    t.notOk(cgroups[`pod${going.metadata.uid}`], 'its processes, too');
    t.notOk(leases[going.status?.podIP ?? ''], 'and its address');
    for (const pid of (await kernelFacts(paths.root)).cgroups[
      `pod${(await node.until('fd-reader', isRunning)).metadata.uid}`
    ]!.pause!)
      process.kill(pid, 'SIGKILL');
    await sleep(1500);
    t.equal(node.pid(), before, 'the daemon lives, whatever it cannot write');
    await node.kill9();
    await node.up();
    for (const [disk] of disks) free(paths, disk);
    await node.until('fd-reader', (found) => isRunning(found) && found?.status?.podIP);
    await node.until('fd-teller', isRunning);
    await node.apply(pod('fd-new'));
    await node.until('fd-new', isRunning);
    await checkAtRest(t, node);
    checkWhole(t, node);
    const { exitCode, stdout, stderr } = await node.podwire(['logs', 'fd-teller', '--tail=200']);
    t.equal(exitCode, 0, stderr);
    const lines = stdout.trim().split('\n');
    // conmon writes what fits: where the disk was full, one line may end in the middle, and the next follow on it.
    const whole = (line: string): boolean => /^line \d+ of many$/.test(line);
    const cutByConmon = (line: string): boolean =>
      /^(line \d+ of many|l?i?n?e? ?\d* ?o?f? ?m?a?n?y?)\d{4}-\d\d-\d\dT\S+ stdout F line \d+ of many$/.test(
        line,
      );
    t.ok(lines.filter(cutByConmon).length <= 1, 'one line at most is cut short');
    t.same(
      lines.filter((line) => !whole(line) && !cutByConmon(line)),
      [],
      'all others are whole',
    );
  });
  t.not(node.pid(), daemon);
});
