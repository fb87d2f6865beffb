// config.json of a container: from its config, its image's config and its sandbox to the OCI runtime's words. Pure.
// Assumes everything was looked up before: user, capabilities that the daemon may give, host devices.
// Asks for no rlimit and no oom score: a daemon without CAP_SYS_RESOURCE could not give them. A few KB a container.
import { cpuPeriod } from '../../kernel/cgroup-values.ts';
import type { IdRange } from '../../kernel/user-namespace.ts';
import type { ContainerConfig, LinuxResources } from '../cri.ts';
import { defaultPath, type ImageConfig } from '../image/config.ts';
import { containerMounts, type HiddenPath, rootPropagation } from './mounts.ts';
import type { OciDevice, OciProcess, OciResources, OciSpec } from './types.ts';
import type { SeccompProfile } from './seccomp.ts';
import type { ProcessUser } from './user.ts';

/** A user namespace that a file holds. */
export interface UserNamespace {
  readonly path: string;
  readonly ids: IdRange;
}

/** What a sandbox gives its containers. */
export interface SandboxMounts {
  readonly id: string;
  readonly hostNetwork: boolean;
  readonly netnsPath?: string;
  readonly hostIpc: boolean;
  readonly ipcPath?: string;
  /** Absent: the machine's. */
  readonly utsPath?: string;
  readonly hostPid: boolean;
  /** The Pod's shared pid namespace; absent, each container has its own, or with hostPid the machine's. */
  readonly pidPath?: string;
  /** The Pod's own users; absent: the machine's. */
  readonly userns?: UserNamespace;
  /** Of the mount that these files lie on, which the container's have too: nosuid, nodev, noexec. */
  readonly lockedOptions?: readonly string[];
  readonly hostsPath: string;
  readonly resolvConfPath: string;
  readonly hostnamePath: string;
  /** Folder shown as /dev/shm. */
  readonly shmPath: string;
  /** The Pod's cgroup, e.g. podwire/pod<uid>; the container's is made below it. */
  readonly cgroupParent: string;
}

export interface SpecInput {
  readonly config: ContainerConfig;
  readonly image: ImageConfig;
  readonly sandbox: SandboxMounts;
  /** HOSTNAME */
  readonly hostname: string;
  readonly rootfsPath: string;
  /** Absolute in the hierarchies: /podwire/pod<uid>/<container id> */
  readonly cgroupsPath: string;
  readonly cgroupVersion: 'v1' | 'v2';
  readonly user: ProcessUser;
  /** CAP_… that it gets. */
  readonly capabilities: readonly string[];
  readonly seccomp?: SeccompProfile;
  /** Of the host, for a privileged container. */
  readonly devices: readonly OciDevice[];
  readonly hidden: readonly HiddenPath[];
  readonly annotations: Readonly<Record<string, string>>;
}

/** Hidden in every container but privileged ones: they tell about, or act on, the whole machine. Source: containerd. */
export const maskedPaths: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

export const readonlyPaths: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

/** @throws RangeError when neither the Pod nor the image names a command */
export function buildOciSpec(input: SpecInput): OciSpec {
  const { config, sandbox } = input;
  const { privileged, readOnlyRootFilesystem, unmaskedProc } = config.security;
  const unmasked = privileged || unmaskedProc === true;
  return {
    ociVersion: '1.0.2',
    process: processOf(input),
    root: { path: input.rootfsPath, readonly: readOnlyRootFilesystem },
    mounts: containerMounts({
      privileged,
      mounts: config.mounts,
      files: sandbox,
      hidden: input.hidden,
    }),
    annotations: input.annotations,
    linux: {
      namespaces: namespacesOf(input),
      ...(sandbox.userns ? idMappings(sandbox.userns.ids) : {}),
      cgroupsPath: input.cgroupsPath,
      resources: resourcesOf(config.resources, { privileged, cgroupVersion: input.cgroupVersion }),
      ...(input.devices.length > 0 ? { devices: input.devices } : {}),
      maskedPaths: unmasked ? [] : maskedPaths,
      readonlyPaths: unmasked ? [] : readonlyPaths,
      rootfsPropagation: rootPropagation(config.mounts),
      ...(input.seccomp ? { seccomp: input.seccomp } : {}),
    },
  };
}

/**
 * The program and its arguments: `command` replaces ENTRYPOINT and, alone, drops CMD too; `args` replaces CMD.
 * Source: Kubernetes, "Define a Command and Arguments for a Container".
 */
export function commandLine(
  config: Pick<ContainerConfig, 'command' | 'args' | 'image'>,
  image: ImageConfig,
): string[] {
  const ownCommand = (config.command?.length ?? 0) > 0;
  const ownArgs = (config.args?.length ?? 0) > 0;
  const command = ownCommand ? config.command! : image.Entrypoint;
  const args = ownArgs ? config.args! : ownCommand ? [] : image.Cmd;
  const line = [...command, ...args];
  if (line.length === 0)
    throw new RangeError(
      `no command: the image ${config.image} has none; set command or args in the container`,
    );
  return line;
}

function processOf({ config, image, hostname, user, capabilities }: SpecInput): OciProcess {
  const { oomScoreAdj } = config.resources;
  const { uid, gid, additionalGids } = user;
  return {
    terminal: config.tty,
    user: { uid, gid, ...(additionalGids.length > 0 ? { additionalGids } : {}) },
    args: commandLine(config, image),
    env: environment(config, image, hostname),
    cwd: config.workingDir || image.WorkingDir || '/',
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    noNewPrivileges: !config.security.allowPrivilegeEscalation,
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }),
  };
}

/** NAME=value; the image's first, then the container's own, which win. */
function environment(config: ContainerConfig, image: ImageConfig, hostname: string): string[] {
  const values = new Map<string, string>();
  const put = (line: string): unknown => values.set(line.slice(0, line.indexOf('=')), line);
  put(defaultPath);
  put(`HOSTNAME=${hostname}`);
  if (config.tty) put('TERM=xterm');
  for (const line of image.Env) if (line.indexOf('=') > 0) put(line);
  for (const { name, value } of config.env) put(`${name}=${value}`);
  return [...values.values()];
}

function idMappings({ first, length }: IdRange): Pick<OciSpec['linux'], 'uidMappings' | 'gidMappings'> {
  const mappings = [{ containerID: 0, hostID: first, size: length }];
  return { uidMappings: mappings, gidMappings: mappings };
}

function namespacesOf({ sandbox, cgroupVersion, config }: SpecInput): { type: string; path?: string }[] {
  // Without a path the runtime makes a new one.
  const namespace = (type: string, path: string | undefined) => [
    path === undefined ? { type } : { type, path },
  ];
  return [
    ...(sandbox.userns ? namespace('user', sandbox.userns.path) : []),
    ...(sandbox.hostPid ? [] : namespace('pid', sandbox.pidPath)),
    ...(sandbox.hostNetwork ? [] : namespace('network', sandbox.netnsPath)),
    ...(sandbox.hostIpc ? [] : namespace('ipc', sandbox.ipcPath)),
    ...(sandbox.utsPath === undefined ? [] : namespace('uts', sandbox.utsPath)),
    ...namespace('mount', undefined),
    // On v1 a cgroup namespace would hide the hierarchies' mount points from the runtimes' bind mounts.
    ...(cgroupVersion === 'v2' && !config.security.privileged ? namespace('cgroup', undefined) : []),
  ];
}

function resourcesOf(
  limits: LinuxResources,
  how: { privileged: boolean; cgroupVersion: 'v1' | 'v2' },
): OciResources {
  const { cpuShares, cpuQuota, memoryLimit, pidsLimit, hugepageLimits } = limits;
  const cpu = {
    ...(cpuShares === undefined ? {} : { shares: cpuShares }),
    ...(cpuQuota === undefined ? {} : { quota: cpuQuota, period: cpuPeriod }),
  };
  return {
    devices: [{ allow: how.privileged, access: 'rwm' }],
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(memoryLimit === undefined ? {} : { memory: { limit: memoryLimit } }),
    ...(pidsLimit === undefined ? {} : { pids: { limit: pidsLimit } }),
    ...(hugepageLimits === undefined
      ? {}
      : {
          hugepageLimits: Object.entries(hugepageLimits).map(([pageSize, limit]) => ({ pageSize, limit })),
        }),
    // As the kubelet does since 1.28: what runs out of memory dies whole, not one process of it.
    ...(how.cgroupVersion === 'v2' && memoryLimit !== undefined
      ? { unified: { 'memory.oom.group': '1' } }
      : {}),
  };
}
