// A whole podwire node in a temporary folder, for tests against the real daemon and the real kernel.
// Assumes root, and the built dist/. Each node has its own bridge, cgroup and paths (--root) and leaves nothing:
// `leftovers` looks at the kernel, not at podwire's own idea of it.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { HttpClient } from '../../lib/api/http/client.ts';
import type { RemoteExec } from '../../lib/api/http/exec.ts';
import type { Pod } from '../../lib/api/types.ts';
import { type CommandResult, run } from '../../lib/exec/exec.ts';
import { cgroupProcs, detectCgroups } from '../../lib/kernel/cgroup.ts';
import { listMounts } from '../../lib/kernel/mount.ts';
import { type NodePaths, nodePaths } from '../../lib/kernel/paths.ts';
import { until } from '../until.ts';
import { startContainerd, type TestContainerd, testImage } from './containerd.ts';

const repo = join(import.meta.dirname, '../..');

/** What runs the containers of nodes under test. */
export const runtimes = ['crun', 'runc', 'containerd'] as const;
export type TestRuntime = (typeof runtimes)[number];

/** PODWIRE_TEST_RUNTIME runs a whole suite under another one (npm run test:runtimes). */
export const testRuntime = (process.env.PODWIRE_TEST_RUNTIME ?? 'crun') as TestRuntime;
if (!runtimes.includes(testRuntime)) throw new Error(`PODWIRE_TEST_RUNTIME: one of ${runtimes.join(', ')}`);

/** Of a test that is about podwire's own runtime; for tap's `skip`. */
export const ownRuntimeOnly =
  testRuntime === 'containerd'
    ? "needs podwire's own runtime (the machine's root, or what containerd does not do), and this is containerd"
    : false;

/** Of suites that run over podwire's own two runtimes: those, or the one that is asked for. */
export const suiteRuntimes: readonly TestRuntime[] = process.env.PODWIRE_TEST_RUNTIME
  ? [testRuntime]
  : ['crun', 'runc'];

export interface TestNode {
  readonly runtime: TestRuntime;
  readonly containerd: TestContainerd | undefined;
  readonly paths: NodePaths;
  readonly client: HttpClient;
  /** A manifest as this node can run it: an image for localhost/host where it needs one. */
  fitted(text: string): string;
  /** Processes that hold the Pod's namespaces. */
  pausePids(pod: Pod): number[];
  /** Runs the CLI against this node; never throws for an exit code. */
  podwire(args: readonly string[], input?: string): Promise<CommandResult>;
  /** Applies a Pod from an object; throws with the CLI's words when refused. */
  apply(pod: object): Promise<void>;
  /** Waits until `met` holds for the Pod (undefined: it is gone); throws with its last state otherwise. */
  until(name: string, met: (pod: Pod | undefined) => unknown, seconds?: number): Promise<Pod>;
  pid(): number;
  /** Kills podwired with SIGKILL and waits until it is gone. */
  kill9(): Promise<void>;
  up(): Promise<void>;
}

export const allCodes = Array.from({ length: 256 }, (_, code) => code);

export interface NodeOptions {
  readonly podCidr?: string;
  readonly flags?: readonly string[];
  readonly runtime?: TestRuntime;
  /** What its folders need before it starts; gives back how to undo that, done when it is down. */
  readonly prepare?: (paths: NodePaths) => Promise<(() => Promise<void>) | void>;
}

/** Starts a node; it is taken down, and looked for leftovers, when the test ends. podCidr '': of the cluster's range. */
export async function startNode(t: Test, options: NodeOptions = {}): Promise<TestNode> {
  const { podCidr = '10.201.0.0/24', flags = [], runtime = testRuntime, prepare = async () => {} } = options;
  const root = mkdtempSync('/tmp/podwire-e2e-');
  const paths = nodePaths(root);
  const unprepare = await prepare(paths);
  const names = new Set<string>();
  const before = new Set(netnsNames());
  const containerd = runtime === 'containerd' ? await startContainerd(t, paths.cniConf) : undefined;
  const runtimeFlags = containerd
    ? ['--runtime-endpoint', `unix://${containerd.socket}`]
    : runtime === 'crun'
      ? []
      : ['--runtime', runtime];
  // Where containers need an image, one with a shell stands for the machine's root.
  const fitted = (text: string): string => (containerd ? text.replaceAll('localhost/host', testImage) : text);
  const podwire = (args: readonly string[], input?: string): Promise<CommandResult> =>
    run({
      argv: [join(repo, 'bin/podwire'), '--root', root, ...args],
      okCodes: allCodes,
      timeoutMs: 120_000,
      ...(input === undefined ? {} : { input: fitted(input) }),
    });
  const up = async (): Promise<void> => {
    const subnet = podCidr === '' ? [] : ['--pod-cidr', podCidr];
    const { exitCode, stderr, stdout } = await podwire(['up', ...subnet, ...runtimeFlags, ...flags]);
    if (exitCode !== 0) throw new Error(`podwire up: ${stderr}${stdout}`);
  };
  const client = new HttpClient({ socketPath: paths.socket });
  const node: TestNode = {
    runtime,
    containerd,
    fitted,
    pausePids: (pod) => pausePids(paths, pod),
    paths,
    client,
    podwire,
    up,
    apply: async (pod) => {
      const { exitCode, stderr } = await podwire(['apply', '-f', '-'], JSON.stringify(pod));
      if (exitCode !== 0) throw new Error(stderr);
    },
    until: (name, met, seconds = 60) => {
      names.add(name);
      return untilPod(client, name, met, seconds);
    },
    pid: () => daemonPid(root),
    kill9: async () => {
      const pid = daemonPid(root);
      process.kill(pid, 'SIGKILL');
      while (alive(pid)) await sleep(5);
    },
  };
  t.teardown(async () => {
    const { exitCode, stdout, stderr } = await podwire(['down', '--pods']);
    // A teardown may not assert any more; what it throws fails the test all the same.
    if (exitCode !== 0) throw new Error(`podwire down --pods: exit code ${exitCode}\n${stdout}${stderr}`);
    await unprepare?.();
    const left = [...leftovers(paths), ...podNetns(names, before)];
    if (left.length > 0) throw new Error(`left in the kernel:\n${left.join('\n')}`);
    rmSync(root, { recursive: true, force: true });
  });
  await up();
  return node;
}

async function untilPod(
  client: HttpClient,
  name: string,
  met: (pod: Pod | undefined) => unknown,
  seconds: number,
): Promise<Pod> {
  let last: Pod | undefined;
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(15)) {
    last = (await client.list('pods', { namespace: 'default', fieldSelector: `metadata.name=${name}` }))
      .items[0];
    if (await met(last)) return last as Pod;
  }
  const { items } = await client.list('events', { namespace: 'default' });
  const about = items.filter((event) => event.involvedObject.name === name);
  const told = about.map((event) => `${event.reason}: ${event.message}`).join('\n  ');
  throw new Error(
    `pod ${name}: not so after ${seconds} s; status ${JSON.stringify(last?.status)}\nevents:\n  ${told}`,
  );
}

/** In the Pod's cgroup, in none of its containers': podwire's own is called pause, a runtime's after the sandbox. */
function pausePids(paths: NodePaths, pod: Pod): number[] {
  const group = `${paths.cgroup}/pod${pod.metadata.uid}`;
  const known = (pod.status?.containerStatuses ?? []).map(
    ({ containerID = '' }) => containerID.split('//')[1],
  );
  const ofContainers = new Set(known.flatMap((id) => (id ? cgroupProcs(`${group}/${id}`) : [])));
  return cgroupProcs(group).filter((pid) => !ofContainers.has(pid));
}

/** What a container without memory ends by: on cgroup v1 containerd 1.6 may miss it, and then tells an exit like others. */
export const outOfMemory = ({ containerd }: TestNode): string | RegExp =>
  containerd && detectCgroups().mode !== 'v2' ? /^(OOMKilled|Error)$/ : 'OOMKilled';

/** One may end because another one did. */
export function killAll(pids: readonly number[]): void {
  for (const pid of pids)
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
}

export const isRunning = (pod: Pod | undefined): boolean =>
  pod?.status?.phase === 'Running' &&
  (pod.status.containerStatuses ?? []).every((container) => container.state?.running !== undefined);

/** A Pod of `localhost/host` containers; a text is a shell command. */
export function hostPod(name: string, commands: Record<string, string>, spec: object = {}): object {
  const containers = Object.entries(commands).map(([container, script]) => ({
    name: container,
    image: 'localhost/host',
    command: ['/bin/sh', '-c', script],
  }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { terminationGracePeriodSeconds: 1, ...spec, containers },
  };
}

/** What a session has said so far. */
export function listen(session: Pick<RemoteExec, 'onStdout'>): {
  text: string;
  until(what: RegExp): Promise<void>;
} {
  const heard = {
    text: '',
    async until(what: RegExp) {
      if (!(await until(() => what.test(heard.text))))
        throw new Error(`never came: ${what}; but ${JSON.stringify(heard.text)}`);
    },
  };
  session.onStdout((chunk) => {
    heard.text += chunk.toString();
  });
  return heard;
}

/** Ends at once on TERM. */
export const sleeper = 'trap "exit 0" TERM; while :; do sleep 1000 & wait $!; done';

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export function alive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

export const netnsNames = (): string[] => (existsSync('/run/netns') ? readdirSync('/run/netns') : []);

/** Pids of processes whose arguments name this folder. */
export function processesOf(root: string): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
          .split('\0')
          .some((word) => word.startsWith(root));
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** '' when it has ended meanwhile. */
function cmdline(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

function daemonPid(root: string): number {
  const found = processesOf(root).filter((pid) => cmdline(pid).includes('podwired.mjs'));
  if (found[0] === undefined) throw new Error('podwired does not run');
  return found[0];
}

/** What the kernel still has of a node that is down. */
export function leftovers(paths: NodePaths): string[] {
  const links = readdirSync('/sys/class/net').filter((name) => paths.tag !== '' && name.includes(paths.tag));
  return [
    ...listMounts(paths.root).map((path) => `mount ${path}`),
    ...links.map((name) => `link ${name}`),
    ...processesOf(paths.root).map((pid) => `process ${pid} ${cmdline(pid).replaceAll('\0', ' ')}`),
    ...cgroupProcs(paths.cgroup).map((pid) => `process ${pid} in cgroup ${paths.cgroup}`),
    ...cgroupFolders(paths.cgroup).map((path) => `cgroup ${path}`),
  ];
}

/** Namespaces of Pods with these names that were not there before. */
function podNetns(names: ReadonlySet<string>, before: ReadonlySet<string>): string[] {
  const ofPods = netnsNames().filter(
    (netns) => names.has(netns.replace(/-[0-9a-f]{10}$/, '')) || netns.startsWith('cni-'),
  );
  return ofPods.filter((netns) => !before.has(netns)).map((netns) => `netns ${netns}`);
}

function cgroupFolders(name: string): string[] {
  const base = '/sys/fs/cgroup';
  return [join(base, name), ...readdirSync(base).map((entry) => join(base, entry, name))].filter((path) =>
    existsSync(path),
  );
}
