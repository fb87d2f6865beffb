// What the container tests share: a node in a temporary folder, a sandbox made by hand, container configs, and a
// small image archive. Everything made is registered for removal, and `assertNothingLeft` looks for what stayed.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
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
import type { ContainerConfig, SecurityConfig } from '../../../lib/container/cri.ts';
import { createImageStore, type ImageStore } from '../../../lib/container/image/store.ts';
import {
  type ContainerRuntime,
  createContainerRuntime,
  type SandboxMounts,
} from '../../../lib/container/runtime.ts';
import { StepClock } from '../../../lib/exec/step-clock.ts';
import { cgroupProcs, detectCgroups, ensureCgroup, removeCgroup } from '../../../lib/kernel/cgroup.ts';
import { listMounts, mountTmpfs, unmountAll } from '../../../lib/kernel/mount.ts';
import { type NodePaths, nodePaths } from '../../../lib/kernel/paths.ts';
import { findProgram } from '../../../lib/exec/find-program.ts';

export const security: SecurityConfig = {
  privileged: false,
  readOnlyRootFilesystem: false,
  allowPrivilegeEscalation: true,
  runAsNonRoot: false,
  supplementalGroups: [],
  capabilitiesAdd: [],
  capabilitiesDrop: [],
  seccomp: 'RuntimeDefault',
};

export interface Node {
  readonly paths: NodePaths;
  readonly images: ImageStore;
  readonly sandbox: SandboxMounts;
  readonly podUid: string;
  /** A daemon's; by another OCI runtime when told. */
  runtime(program?: 'crun' | 'runc'): ContainerRuntime;
  config(script: string, more?: Partial<ContainerConfig>): ContainerConfig;
  log(config: ContainerConfig): string[];
  /** Makes and starts; gives the id. */
  run(runtime: ContainerRuntime, config: ContainerConfig): Promise<string>;
  /** What of this node is still there after its removal. */
  leftovers(): string[];
  remove(): Promise<void>;
}

let count = 0;

/** A node under a temporary root whose sandbox has its own net, ipc and uts namespaces. */
export async function makeNode(ociRuntime: 'crun' | 'runc'): Promise<Node> {
  const root = mkdtempSync(join(tmpdir(), 'podwire-ct-'));
  const paths = nodePaths(root);
  const podUid = `test-${process.pid}-${++count}`;
  const name = `pwct-${process.pid}-${count}`;
  const dir = join(paths.sandboxes, name);
  mkdirSync(join(dir, 'shm'), { recursive: true });
  for (const file of ['ipc', 'uts']) writeFileSync(join(dir, file), '');
  execFileSync('ip', ['netns', 'add', name]);
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  execFileSync('unshare', [
    `--ipc=${join(dir, 'ipc')}`,
    `--uts=${join(dir, 'uts')}`,
    '--',
    'hostname',
    'test-pod',
  ]);
  await mountTmpfs({ target: join(dir, 'shm'), options: 'nosuid,nodev,mode=1777,size=1m' });
  const files = {
    hosts: '127.0.0.1 localhost\n',
    'resolv.conf': 'nameserver 192.0.2.1\n',
    hostname: 'test-pod\n',
  };
  for (const [file, text] of Object.entries(files)) writeFileSync(join(dir, file), text);
  const cgroupParent = `${paths.cgroup}/pod${podUid}`;
  ensureCgroup(cgroupParent, {});
  const images = createImageStore({ paths });
  const open = new Set<ContainerRuntime>();

  const node: Node = {
    paths,
    images,
    podUid,
    sandbox: {
      id: name,
      hostNetwork: false,
      netnsPath: `/run/netns/${name}`,
      hostIpc: false,
      ipcPath: join(dir, 'ipc'),
      utsPath: join(dir, 'uts'),
      hostPid: false,
      hostsPath: join(dir, 'hosts'),
      resolvConfPath: join(dir, 'resolv.conf'),
      hostnamePath: join(dir, 'hostname'),
      shmPath: join(dir, 'shm'),
      cgroupParent,
    },
    runtime(program = ociRuntime) {
      const runtime = createContainerRuntime({
        paths,
        images,
        ociRuntime: findProgram(program)!,
        conmon: findProgram('conmon')!,
      });
      open.add(runtime);
      const { close } = runtime;
      // A closed one stands for a dead daemon: nobody asks it anything again.
      runtime.close = async () => {
        open.delete(runtime);
        await close.call(runtime);
      };
      return runtime;
    },
    config: (script, more = {}) => ({
      name: 'main',
      attempt: 0,
      image: 'localhost/host',
      command: ['/bin/sh', '-c', script],
      env: [],
      mounts: [],
      security,
      resources: {},
      tty: false,
      stdin: false,
      logPath: join(paths.logs, 'pods', `ns_pod_${podUid}`, more.name ?? 'main', `${++count}.log`),
      hash: 'h',
      ...more,
    }),
    log: (config) => readFileSync(config.logPath, 'utf8').split('\n').filter(Boolean),
    async run(runtime, config) {
      const sandbox = node.sandbox;
      const id = await runtime.create({
        sandbox,
        podUid,
        namespace: 'ns',
        podName: 'pod',
        config,
        clock: new StepClock(),
      });
      await runtime.start(id);
      return id;
    },
    leftovers: () => [
      ...['containers', 'overlay', 'exits'].flatMap((folder) => entries(paths[folder as 'containers'])),
      ...entries(join(paths.run, 'oci')),
      ...listMounts(paths.containers),
      ...cgroupProcs(cgroupParent).map((pid) => `process ${pid}`),
      ...childCgroups(cgroupParent),
    ],
    async remove() {
      for (const runtime of open) {
        for (const { id } of runtime.list()) await runtime.remove(id);
        await runtime.close();
      }
      await removeCgroup(paths.cgroup);
      await unmountAll(root);
      execFileSync('ip', ['netns', 'del', name]);
      rmSync(root, { recursive: true });
    },
  };
  return node;
}

const entries = (folder: string): string[] =>
  existsSync(folder) ? readdirSync(folder).filter((name) => !name.startsWith('.')) : [];

function childCgroups(path: string): string[] {
  const { unified, v1 } = detectCgroups();
  const roots = new Set([...Object.values(v1), ...(unified ? [unified] : [])]);
  return [...roots].flatMap((root) =>
    existsSync(join(root, path))
      ? readdirSync(join(root, path), { withFileTypes: true })
          .filter((entry) => entry.isDirectory())
          .map((entry) => join(root, path, entry.name))
      : [],
  );
}

export async function until(
  what: string,
  test: () => boolean | Promise<boolean>,
  limitMs = 60_000,
): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await test())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const statusOf = (runtime: ContainerRuntime, id: string) =>
  runtime.list().find((one) => one.id === id);

/** Resolves when it has exited. */
export async function ended(runtime: ContainerRuntime, id: string) {
  await until(`${id} exits`, () => statusOf(runtime, id)?.state === 'exited');
  return statusOf(runtime, id)!;
}

/** Writes a docker-archive of one layer with busybox in it, as `docker save` would. */
export function busyboxArchive(
  target: string,
  config: object,
  names: readonly string[] = ['test/busybox:1'],
): void {
  const dir = mkdtempSync(join(tmpdir(), 'podwire-image-'));
  const root = join(dir, 'root');
  for (const folder of ['bin', 'etc', 'tmp', 'home/app']) mkdirSync(join(root, folder), { recursive: true });
  cpSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const applet of ['sh', 'cat', 'id', 'sleep', 'echo', 'env', 'pwd', 'test', 'ls'])
    cpSync('/bin/busybox', join(root, 'bin', applet));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\napp:x:1500:1600::/home/app:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\napp:x:1600:\nextra:x:1700:app\n');
  const tar = (out: string, from: string, ...names: string[]): void => {
    execFileSync('tar', [
      '--owner=0',
      '--group=0',
      '--mtime=@0',
      '--sort=name',
      '-cf',
      out,
      '-C',
      from,
      ...names,
    ]);
  };
  tar(join(dir, 'layer.tar'), root, '.');
  const digest = execFileSync('sha256sum', [join(dir, 'layer.tar')], { encoding: 'utf8' }).split(' ')[0]!;
  const image = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
  };
  writeFileSync(join(dir, 'config.json'), JSON.stringify(image));
  const manifest = [
    { Config: 'config.json', RepoTags: names.length > 0 ? names : null, Layers: ['layer.tar'] },
  ];
  writeFileSync(join(dir, 'manifest.json'), JSON.stringify(manifest));
  tar(target, dir, 'manifest.json', 'config.json', 'layer.tar');
  rmSync(dir, { recursive: true });
}
