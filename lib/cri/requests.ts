// A Pod and its containers in the CRI's words, as a kubelet says them. Pure.
// Assumes checked configurations; labels are those that crictl and other tools know, and one that tells whose they are.
// Source: kubelet's kuberuntime (labels.go, security_context.go, kuberuntime_container_linux.go).
import { dirname, relative } from 'node:path';
import type {
  ContainerConfig,
  Mount,
  PodSandboxConfig,
  SecurityConfig,
  LinuxResources,
} from '../container/cri.ts';
import { ContainerError } from '../container/errors.ts';
import { maskedPaths, readonlyPaths } from '../container/oci/spec.ts';
import { cpuPeriod } from '../kernel/cgroup-values.ts';
import type {
  ContainerMessage,
  MountMessage,
  NamespaceOption,
  RemoteImage,
  RemoteStatus,
  SandboxMessage,
  SecurityProfile,
} from './messages.ts';

/** On all that is ours: the node's root (paths.ts), for several may share a runtime, and others may use it, too. */
export const ownerLabel = 'podwire.root';
export const podUidLabel = 'io.kubernetes.pod.uid';
const containerNameLabel = 'io.kubernetes.container.name';
export const hashAnnotation = 'io.kubernetes.container.hash';
/** As the user wrote it: the runtime tells another name of the same image. */
export const imageAnnotation = 'podwire.image';
/** lifecycle.stopSignal: runtimes before CRI 1.33 know the image's only. */
export const stopSignalAnnotation = 'podwire.stop-signal';

export interface SandboxInput {
  readonly config: PodSandboxConfig;
  readonly owner: string;
  /** Of the Pod, without a leading slash. */
  readonly cgroup: string;
}

const modes = { pod: 'POD', container: 'CONTAINER', node: 'NODE' } as const;

function namespaceOptions({ network, ipc, pid }: PodSandboxConfig['namespaces']): NamespaceOption {
  return { network: modes[network], ipc: modes[ipc], pid: modes[pid] };
}

function ownNamespaces({ pidTarget }: ContainerConfig, { config }: SandboxInput): NamespaceOption {
  const options = namespaceOptions(config.namespaces);
  return pidTarget && options.pid === 'CONTAINER'
    ? { ...options, pid: 'TARGET', targetId: pidTarget }
    : options;
}

const runtimeDefault: SecurityProfile = { profileType: 'RuntimeDefault' };

export function sandboxMessage({ config, owner, cgroup }: SandboxInput): SandboxMessage {
  const { namespace, name, uid, attempt, dns } = config;
  return {
    metadata: { name, uid, namespace, attempt },
    // Without a UTS namespace of its own no name can be set.
    hostname: config.namespaces.network === 'node' ? '' : config.hostname,
    logDirectory: '',
    dnsConfig: dns,
    portMappings: config.portMappings.map(({ protocol, containerPort, hostPort, hostIP = '' }) => ({
      protocol: protocol.toUpperCase(),
      containerPort,
      hostPort,
      hostIp: hostIP,
    })),
    labels: {
      'io.kubernetes.pod.name': name,
      'io.kubernetes.pod.namespace': namespace,
      [podUidLabel]: uid,
      [ownerLabel]: owner,
    },
    // The runtime reads the bandwidth out of them by itself.
    annotations: config.annotations,
    linux: {
      cgroupParent: `/${cgroup}`,
      sysctls: config.sysctls,
      securityContext: {
        namespaceOptions: namespaceOptions(config.namespaces),
        seccomp: runtimeDefault,
      },
    },
  };
}

/** What this runtime can do beyond CRI v1 as containerd 1.6 has it. */
export interface Features {
  readonly strictGroups: boolean;
  readonly recursiveReadOnly: boolean;
}

export function featuresOf({ features, runtimeHandlers }: RemoteStatus): Features {
  const own = runtimeHandlers.find(({ name }) => name === '');
  return {
    strictGroups: features?.supplementalGroupsPolicy ?? false,
    recursiveReadOnly: own?.features?.recursiveReadOnlyMounts ?? false,
  };
}

export interface ContainerInput {
  readonly config: ContainerConfig;
  readonly sandbox: SandboxInput;
  /** The Pod's /etc/hosts on this machine. */
  readonly hostsPath: string;
  readonly image: RemoteImage;
  readonly features: Features;
  /** Of the machine's cgroups. */
  readonly unified: boolean;
}

/** @throws ContainerError CreateContainerConfigError for what this runtime cannot do */
export function containerRequest(input: ContainerInput): {
  config: ContainerMessage;
  sandboxConfig: SandboxMessage;
} {
  const { config, sandbox } = input;
  // The runtime joins the two.
  const logDirectory = dirname(dirname(config.logPath));
  return {
    config: {
      metadata: { name: config.name, attempt: config.attempt },
      image: { image: input.image.id },
      command: config.command ?? [],
      args: config.args ?? [],
      workingDir: config.workingDir ?? '',
      envs: config.env.map(({ name, value }) => ({ key: name, value })),
      mounts: mountMessages(input),
      labels: { ...sandboxMessage(sandbox).labels, [containerNameLabel]: config.name },
      annotations: {
        [hashAnnotation]: config.hash,
        'io.kubernetes.container.restartCount': `${config.attempt}`,
        [imageAnnotation]: config.image,
        ...(config.stopSignal === undefined ? {} : { [stopSignalAnnotation]: config.stopSignal }),
      },
      logPath: relative(logDirectory, config.logPath),
      stdin: config.stdin,
      stdinOnce: config.stdinOnce ?? false,
      tty: config.tty,
      linux: {
        resources: resourcesMessage(config.resources, input),
        securityContext: securityContext(input),
      },
    },
    sandboxConfig: { ...privilegedAs(config, sandboxMessage(sandbox)), logDirectory },
  };
}

/** containerd takes a privileged container in a sandbox only that is called so in the same breath. */
function privilegedAs(
  { security: { privileged } }: ContainerConfig,
  sandbox: SandboxMessage,
): SandboxMessage {
  const { linux } = sandbox;
  const securityContext = { ...linux.securityContext, privileged };
  return { ...sandbox, linux: { ...linux, securityContext } };
}

function refuse(config: ContainerConfig, why: string): never {
  throw new ContainerError('CreateContainerConfigError', config.name, `container ${config.name}: ${why}`);
}

const propagations = {
  private: 'PROPAGATION_PRIVATE',
  rslave: 'PROPAGATION_HOST_TO_CONTAINER',
  rshared: 'PROPAGATION_BIDIRECTIONAL',
} as const;

function mountMessages({ config, hostsPath, features }: ContainerInput): MountMessage[] {
  const own: Mount[] = config.mounts.some(({ containerPath }) => containerPath === '/etc/hosts')
    ? []
    : [{ hostPath: hostsPath, containerPath: '/etc/hosts', readOnly: true }];
  return [...own, ...config.mounts].map((mount) => {
    if (mount.recursiveReadOnly && !features.recursiveReadOnly)
      refuse(config, `recursiveReadOnly of ${mount.containerPath}: the container runtime cannot do it`);
    return {
      containerPath: mount.containerPath,
      hostPath: mount.hostPath,
      readonly: mount.readOnly,
      propagation: propagations[mount.propagation ?? 'private'],
      ...(mount.recursiveReadOnly ? { recursiveReadOnly: true } : {}),
    };
  });
}

/** Of a new container, and of one whose limits change. `unified`: cgroup v2. */
export function resourcesMessage(
  limits: LinuxResources,
  { unified }: { readonly unified: boolean },
): ContainerMessage['linux']['resources'] {
  const { cpuShares, cpuQuota, memoryLimit, pidsLimit, hugepageLimits, oomScoreAdj } = limits;
  return {
    ...(cpuShares === undefined ? {} : { cpuShares }),
    ...(cpuQuota === undefined ? {} : { cpuQuota, cpuPeriod }),
    ...(memoryLimit === undefined ? {} : { memoryLimitInBytes: memoryLimit }),
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }),
    ...(hugepageLimits === undefined
      ? {}
      : { hugepageLimits: Object.entries(hugepageLimits).map(([pageSize, limit]) => ({ pageSize, limit })) }),
    // On v1 the Pod's own group holds the limit of processes; the CRI has no field for it.
    ...(unified
      ? {
          unified: {
            ...(memoryLimit === undefined ? {} : { 'memory.oom.group': '1' }),
            ...(pidsLimit === undefined ? {} : { 'pids.max': `${pidsLimit}` }),
          },
        }
      : {}),
  };
}

function securityContext({
  config,
  sandbox,
  image,
  features,
}: ContainerInput): Record<string, boolean | string | object> {
  const { security } = config;
  if (security.supplementalGroupsPolicy === 'Strict' && !features.strictGroups)
    refuse(config, 'supplementalGroupsPolicy Strict: the container runtime cannot do it');
  return {
    privileged: security.privileged,
    namespaceOptions: ownNamespaces(config, sandbox),
    capabilities: {
      addCapabilities: security.capabilitiesAdd,
      dropCapabilities: security.capabilitiesDrop,
    },
    ...userOf(config, image),
    readonlyRootfs: security.readOnlyRootFilesystem,
    supplementalGroups: security.supplementalGroups,
    supplementalGroupsPolicy: security.supplementalGroupsPolicy ?? 'Merge',
    noNewPrivs: !security.allowPrivilegeEscalation,
    maskedPaths: security.privileged ? [] : maskedPaths,
    readonlyPaths: security.privileged ? [] : readonlyPaths,
    seccomp: seccompProfile(security),
  };
}

/** runAsUser, else the image's USER; a group needs a user. */
function userOf(config: ContainerConfig, image: RemoteImage): object {
  const { runAsUser, runAsGroup, runAsNonRoot } = config.security;
  const uid = runAsUser ?? (image.uid ? Number(image.uid.value) : undefined);
  const isRoot = uid === 0 || (uid === undefined && image.username === '');
  if (runAsNonRoot && isRoot) refuse(config, 'runAsNonRoot is set, and it would run as root: set runAsUser');
  if (runAsNonRoot && uid === undefined)
    refuse(
      config,
      `runAsNonRoot is set, and whether the image's user "${image.username}" is root cannot be told: set runAsUser`,
    );
  const user = uid === undefined && image.username === '' && runAsGroup !== undefined ? 0 : uid;
  return {
    ...(user === undefined ? {} : { runAsUser: { value: user } }),
    ...(runAsUser === undefined && image.username !== '' ? { runAsUsername: image.username } : {}),
    ...(runAsGroup === undefined ? {} : { runAsGroup: { value: runAsGroup } }),
  };
}

function seccompProfile({ privileged, seccomp, seccompPath }: SecurityConfig): SecurityProfile {
  if (privileged) return { profileType: 'Unconfined' };
  if (seccomp === 'Localhost') return { profileType: 'Localhost', localhostRef: seccompPath ?? '' };
  return { profileType: seccomp };
}
