// Who attaches containers to one network in the interop tests: containerd by CRI and by ctr, podman, the original
// cnitool, and ours. Each gives a running web server that answers with its own name, and takes it away again.
// Assumes the cell of bench/lib/cell.ts, where all the usual paths are the test's own.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { peerCgroup } from '../../bench/lib/cell.ts';
import { endProcess, until } from '../../bench/lib/wait.ts';
import type { Workload } from '../../bench/peers/peer.ts';
import type { CriConnection } from '../../lib/cri/connection.ts';
import type { NamespaceOption } from '../../lib/cri/messages.ts';
import { type DetachedProcess, startDetached } from '../../lib/exec/detached.ts';
import { run } from '../../lib/exec/exec.ts';

export const network = 'podwire-e2e';

export interface Place {
  readonly folder: string;
  readonly id: string;
  readonly workload: Workload;
  /** Folders of configurations and plugins, as runtimes find them. */
  readonly confDir: string;
  readonly binDir: string;
}

export interface Member {
  readonly name: string;
  start(): Promise<void>;
  /** Repeatable. */
  stop(): Promise<void>;
}

/** A web server in the background, and a first process that ends at TERM. */
const serving = (name: string): [string, ...string[]] => [
  '/bin/busybox',
  'sh',
  '-c',
  `echo ${name} >/tmp/index.html; busybox httpd -p 8080 -h /tmp; trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done`,
];

/** The network namespace of a member: by its name, or by its first process. */
export function netnsOf(name: string): string {
  if (existsSync(`/run/netns/${name}`)) return `/run/netns/${name}`;
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (argv[1] === 'sh' && argv[3] === serving(name)[3]) return `/proc/${pid}/ns/net`;
    } catch {
      // It ended while we looked.
    }
  }
  throw new Error(`no process of ${name}`);
}

export function criMember(name: string, { folder, id, workload }: Place, cri: CriConnection): Member {
  let sandbox: string | undefined;
  return {
    name,
    async start() {
      const options: NamespaceOption = { network: 'POD', pid: 'CONTAINER', ipc: 'POD' };
      const config = {
        metadata: { name, uid: `${name}-uid`, namespace: 'default', attempt: 0 },
        hostname: name,
        logDirectory: join(folder, 'pods', name),
        linux: { cgroupParent: `/${peerCgroup(id)}`, securityContext: { namespaceOptions: options } },
      };
      const reply = await cri.call('RunPodSandbox', { config });
      sandbox = reply.podSandboxId;
      const container = await cri.call('CreateContainer', {
        podSandboxId: sandbox,
        config: {
          metadata: { name: 'main', attempt: 0 },
          image: { image: workload.imageRef },
          command: serving(name),
          logPath: 'main.log',
          linux: { securityContext: { namespaceOptions: options } },
        },
        sandboxConfig: config,
      });
      await cri.call('StartContainer', { containerId: container.containerId });
    },
    async stop() {
      if (!sandbox) return;
      await cri.call('StopPodSandbox', { podSandboxId: sandbox });
      await cri.call('RemovePodSandbox', { podSandboxId: sandbox });
      sandbox = undefined;
    },
  };
}

/** `ctr run --cni`: its folders are fixed, /etc/cni/net.d and /opt/cni/bin. In the foreground: `--detach` never detaches. */
export function ctrMember(name: string, { folder, id, workload }: Place): Member {
  const ctr = ['ctr', '--namespace', 'k8s.io'] as const;
  let client: DetachedProcess | undefined;
  return {
    name,
    async start() {
      const flags = ['--rm', '--cni', '--cgroup', `/${peerCgroup(id)}/${name}`];
      const argv = [...ctr, 'run', ...flags, workload.imageRef, name, ...serving(name)] as const;
      client = await startDetached({ argv, logFile: join(folder, `${name}.log`) });
      await until(`${name} runs`, 10_000, async () => netnsOf(name));
    },
    async stop() {
      if (!client) return;
      await run({ argv: [...ctr, 'task', 'kill', '--signal', 'SIGKILL', name] });
      await client.ended;
      client = undefined;
    },
  };
}

export class Podman {
  readonly #place: Place;
  readonly #env: Record<string, string>;
  constructor(place: Place) {
    const { folder, confDir, binDir } = place;
    this.#place = place;
    mkdirSync(folder, { recursive: true });
    const text = JSON.stringify;
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const atMost = (name: string, wanted: number): number =>
      Math.min(wanted, Number(new RegExp(`^${name}\\s+\\S+\\s+(\\d+)`, 'm').exec(limits)?.[1] ?? wanted));
    const ulimits = [
      `nofile=${atMost('Max open files', 1024)}`,
      `nproc=${atMost('Max processes', 1024)}`,
    ].map((one) => text(`${one}:${one.split('=')[1]}`));
    writeFileSync(
      join(folder, 'containers.conf'),
      `[containers]
default_ulimits = [${ulimits.join(', ')}]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[network]
network_backend = "cni"
cni_plugin_dirs = [${text(binDir)}]
network_config_dir = ${text(confDir)}
default_network = ${text(network)}
`,
    );
    writeFileSync(
      join(folder, 'storage.conf'),
      '[storage]\ndriver = "overlay"\ngraphroot = "/var/lib/containers/storage"\nrunroot = "/run/containers/storage"\n',
    );
    this.#env = {
      CONTAINERS_CONF: join(folder, 'containers.conf'),
      CONTAINERS_STORAGE_CONF: join(folder, 'storage.conf'),
      HOME: folder,
      TMPDIR: folder,
    };
  }

  async run(...args: string[]): Promise<string> {
    const { stdout } = await run({ argv: ['podman', ...args], env: this.#env, timeoutMs: 60_000 });
    return stdout;
  }

  async load(): Promise<void> {
    await this.run('load', '--quiet', '--input', this.#place.workload.imageArchive);
  }

  /** `podman network create` writes a conflist with bridge, portmap, firewall and tuning. */
  async ownNetwork(): Promise<void> {
    await this.run('network', 'create', '--subnet', '10.237.0.0/24', 'own');
    const { imageRef } = this.#place.workload;
    const fixed = ['--rm', '--network', 'own', '--publish', '18081:8080', '--cgroups', 'disabled'];
    const look = 'cat /proc/net/route /proc/net/fib_trie';
    const seen = await this.run(
      'run',
      ...fixed,
      imageRef,
      '/bin/busybox',
      'sh',
      '-c',
      look.replaceAll('cat', 'busybox cat'),
    );
    await this.run('network', 'rm', 'own');
    if (!/^eth0\s+00000000\s+0100ED0A/m.test(seen) || !seen.includes('10.237.0.2')) throw new Error(seen);
    await run({ argv: ['ip', 'link', 'del', 'cni-podman1'], okCodes: [0, 1] });
  }

  member(name: string, ...flags: string[]): Member {
    let started = false;
    return {
      name,
      start: async () => {
        const { imageRef } = this.#place.workload;
        const fixed = ['--detach', '--name', name, '--network', network, '--cgroups', 'disabled'];
        started = true;
        await this.run('run', ...fixed, ...flags, imageRef, ...serving(name));
      },
      stop: async () => {
        if (!started) return;
        await this.run('rm', '--force', '--time', '0', name);
        started = false;
      },
    };
  }
}

/** A namespace made by `ip netns` and attached by a cnitool: one program adds, another may delete. */
export function cnitoolMember(name: string, place: Place, tools: { add: string; del: string }): Member {
  let server: DetachedProcess | undefined;
  const netns = `/run/netns/${name}`;
  const env = { CNI_PATH: place.binDir, NETCONFPATH: place.confDir };
  const tool = (program: string, verb: string) =>
    run({ argv: [program, verb, network, netns], env, timeoutMs: 30_000 });
  return {
    name,
    async start() {
      await run({ argv: ['ip', 'netns', 'add', name] });
      await run({ argv: ['ip', '-n', name, 'link', 'set', 'lo', 'up'] });
      await tool(tools.add, 'add');
      await tool(tools.del, 'check');
      const home = join(place.folder, name);
      mkdirSync(home);
      const argv = serving(name).map((word) => word.replaceAll('/tmp', home));
      const enter = ['nsenter', `--net=${netns}`] as const;
      server = await startDetached({ argv: [...enter, ...argv], logFile: join(home, 'log') });
    },
    async stop() {
      if (!server) return;
      await endProcess(server, 'SIGKILL');
      server = undefined;
      await tool(tools.del, 'del');
      await tool(tools.add, 'del');
      await run({ argv: ['ip', 'netns', 'del', name] });
    },
  };
}
