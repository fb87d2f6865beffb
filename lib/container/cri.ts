// The face between the kubelet and whatever runs Pods, in the words of the Kubernetes CRI (runtime.v1), so that
// the local runtime (lib/sandbox, lib/container) and a container runtime's CRI socket (lib/cri) stand behind one interface.
// Assumes: ids are unique for ever; every call may be repeated; list calls answer from memory, O(objects).
import type { Duplex } from 'node:stream';
import type { ExecSession } from '../exec/session.ts';
import type { StepClock } from '../exec/step-clock.ts';

export type { ExecSession } from '../exec/session.ts';

/** Bits per second, seen from the Pod. */
export interface Bandwidth {
  readonly ingress?: number;
  readonly egress?: number;
}

export interface PortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly hostIP?: string;
}

export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** Limits in the kernel's own units; absent: not limited. Source: CRI LinuxContainerResources. */
export interface LinuxResources {
  /** cgroup v1 cpu.shares (2..262144); on v2 turned into cpu.weight. */
  readonly cpuShares?: number;
  /** Microseconds of CPU a period of 100 000. */
  readonly cpuQuota?: number;
  /** Bytes. */
  readonly memoryLimit?: number;
  readonly pidsLimit?: number;
  /** Bytes, by the kernel's name of a page size: 2MB, 1GB. */
  readonly hugepageLimits?: Readonly<Record<string, number>>;
  /** -1000 to 1000. Of containers only. */
  readonly oomScoreAdj?: number;
}

/** 'pod': the sandbox's own, shared by its containers · 'container': one each · 'node': the machine's. */
export type NamespaceMode = 'pod' | 'container' | 'node';

export interface PodSandboxConfig {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Counts the sandboxes of one Pod, from 0. */
  readonly attempt: number;
  readonly hostname: string;
  /** With the domain of its service, where the Pod has a subdomain. */
  readonly fqdn?: string;
  readonly dns: DnsConfig;
  readonly hostAliases: readonly { readonly ip: string; readonly hostnames: readonly string[] }[];
  readonly portMappings: readonly PortMapping[];
  readonly bandwidth?: Bandwidth;
  readonly annotations: Readonly<Record<string, string>>;
  readonly namespaces: {
    readonly network: 'pod' | 'node';
    readonly ipc: 'pod' | 'node';
    readonly pid: NamespaceMode;
    /** Absent: the machine's users. */
    readonly user?: 'pod';
  };
  /** Kernel sysctls of the Pod's namespaces, e.g. net.ipv4.ip_unprivileged_port_start. */
  readonly sysctls: Readonly<Record<string, string>>;
  readonly resources: LinuxResources;
}

export interface PodSandboxStatus {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly attempt: number;
  /** ready: pause lives and the network is up · notready: anything else that still has kernel objects. */
  readonly state: 'ready' | 'notready';
  /** RFC 3339 with nanoseconds. */
  readonly createdAt: string;
  /** One a family, IPv4 first; empty with the machine's network or until the network is up. */
  readonly ips: readonly string[];
}

export interface Mount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly readOnly: boolean;
  readonly propagation?: 'private' | 'rslave' | 'rshared';
  /** Mounts below it are read-only too. */
  readonly recursiveReadOnly?: boolean;
  /** Of the mount at hostPath, which the container's has too: nosuid, nodev, noexec. */
  readonly lockedOptions?: readonly string[];
}

export interface SecurityConfig {
  readonly privileged: boolean;
  readonly readOnlyRootFilesystem: boolean;
  readonly allowPrivilegeEscalation: boolean;
  /** Numbers win over the image's USER. */
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
  /** Refuse (CreateContainerConfigError) to run as user 0, also when the image's USER makes it so. */
  readonly runAsNonRoot: boolean;
  readonly supplementalGroups: readonly number[];
  /** Strict: without the groups that the image's /etc/group gives the user. Merge unless told. */
  readonly supplementalGroupsPolicy?: 'Merge' | 'Strict';
  /** Without CAP_, e.g. NET_ADMIN; ALL is understood. */
  readonly capabilitiesAdd: readonly string[];
  readonly capabilitiesDrop: readonly string[];
  readonly seccomp: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  /** Of Localhost: absolute path of the profile. */
  readonly seccompPath?: string;
  /** /proc as the kernel shows it: nothing masked, nothing read-only. */
  readonly unmaskedProc?: true;
}

export interface ContainerConfig {
  /** Name in the Pod. */
  readonly name: string;
  /** Counts the containers of that name in one Pod, from 0: the restart count. */
  readonly attempt: number;
  /** Image reference as the user wrote it; it must be present (ImageService.pull). */
  readonly image: string;
  /** Replaces ENTRYPOINT. Already expanded. */
  readonly command?: readonly string[];
  /** Replaces CMD. Already expanded. */
  readonly args?: readonly string[];
  readonly workingDir?: string;
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly mounts: readonly Mount[];
  readonly security: SecurityConfig;
  readonly resources: LinuxResources;
  readonly tty: boolean;
  readonly stdin: boolean;
  /** Standard input ends when the first who attached leaves. */
  readonly stdinOnce?: boolean;
  /** Asks it to end: SIGTERM, SIGRTMIN+1; absent: what the image says. */
  readonly stopSignal?: string;
  /** Id of a container whose pid namespace it joins. */
  readonly pidTarget?: string;
  /** Absolute path of the log file, CRI format. */
  readonly logPath: string;
  /** Of the container's spec; a change means a new container. */
  readonly hash: string;
}

export interface ContainerStatus {
  readonly id: string;
  readonly sandboxId: string;
  readonly podUid: string;
  readonly name: string;
  readonly attempt: number;
  /** As the user wrote it. */
  readonly image: string;
  /** Digest of the image's manifest, `sha256:…`; '' for localhost/host. */
  readonly imageId: string;
  readonly hash: string;
  readonly state: 'created' | 'running' | 'exited';
  /** RFC 3339. */
  readonly createdAt: string;
  readonly startedAt?: string;
  readonly finishedAt?: string;
  readonly exitCode?: number;
  /** Completed, Error, OOMKilled, ContainerCannotRun, ContainerStatusUnknown */
  readonly reason?: string;
  readonly message?: string;
  readonly logPath: string;
}

export interface ExecRequest {
  readonly argv: readonly [string, ...string[]];
  readonly tty: boolean;
  readonly stdin: boolean;
}

export interface AttachRequest {
  /** Pass input on; only of a container that was made with stdin. */
  readonly stdin: boolean;
  /** Whether the container was made with a terminal. */
  readonly tty: boolean;
}

export interface ExecSyncRequest {
  readonly argv: readonly [string, ...string[]];
  /** Then it is ended with its process group. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface ExecSyncResult {
  /** 128 + number when a signal ended it. */
  readonly exitCode: number;
  /** Standard output, then standard error. */
  readonly output: string;
}

/** What happened below, by Pod uid: the kubelet's PLEG turns it into a sync of that Pod. */
export interface RuntimeEvent {
  readonly type: 'ContainerDied' | 'SandboxChanged';
  readonly podUid: string;
  readonly id: string;
}

export interface RuntimeService {
  /** Reads what an earlier daemon left, adopts what lives, undoes what is half made. Call once, first. */
  recover(): Promise<void>;
  /**
   * Resolves when the namespaces stand and containers may be created in them; the network may still be under way
   * (waitForNetwork). A failure undoes everything that was made and rejects.
   */
  runPodSandbox(config: PodSandboxConfig, clock: StepClock): Promise<PodSandboxStatus>;
  /** Resolves with the addresses; rejects with the network's failure. */
  waitForNetwork(sandboxId: string): Promise<PodSandboxStatus>;
  /** Kills what runs in it, releases network and namespaces. Repeatable; unknown ids succeed. */
  stopPodSandbox(sandboxId: string): Promise<void>;
  /** Forgets it and its containers, and removes their files. Repeatable; unknown ids succeed. */
  removePodSandbox(sandboxId: string): Promise<void>;
  listPodSandboxes(): PodSandboxStatus[];

  createContainer(sandboxId: string, config: ContainerConfig, clock: StepClock): Promise<string>;
  startContainer(containerId: string): Promise<void>;
  /** SIGTERM (or the image's STOPSIGNAL), then after `graceSeconds` SIGKILL; resolves when it is dead. */
  stopContainer(containerId: string, graceSeconds: number): Promise<void>;
  removeContainer(containerId: string): Promise<void>;
  /** Sets limits of a container that runs; what is absent stays. */
  updateContainerResources(containerId: string, resources: LinuxResources): Promise<void>;
  /** Sets limits of the Pod as a whole. */
  updatePodSandboxResources(sandboxId: string, resources: LinuxResources): Promise<void>;
  /** Bytes on disk that a container wrote to its own root; undefined when it cannot be told. */
  writableLayerBytes(containerId: string): Promise<number | undefined>;
  listContainers(): ContainerStatus[];
  exec(containerId: string, request: ExecRequest): Promise<ExecSession>;
  /**
   * Runs a command to its end, as probes and hooks do.
   * @throws ExecError EXEC_TIMEOUT, EXEC_ABORTED; ContainerError when there is no such container that runs
   */
  execSync(containerId: string, request: ExecSyncRequest): Promise<ExecSyncResult>;

  /** The log file was renamed: goes on in a new one at its path. */
  reopenContainerLog(containerId: string): Promise<void>;
  /**
   * Joins the container's first process: its output from now on, its input, its terminal. Ends with 0 when it ends.
   * @throws ContainerError ContainerNotFound, ContainerNotRunning
   */
  attach(containerId: string, request: AttachRequest): Promise<ExecSession>;
  /** A connection to a TCP port of the Pod's localhost. @throws PodwireError PORT_REFUSED, SANDBOX_NOT_FOUND */
  portForward(sandboxId: string, port: number): Promise<Duplex>;

  onEvent(listener: (event: RuntimeEvent) => void): void;
  /** Stops looking (timers, watchers); changes nothing that runs. */
  close(): Promise<void>;
}

export interface Image {
  /** Normalised, e.g. docker.io/library/nginx:1.27. */
  readonly ref: string;
  /** Digest of the manifest, `sha256:…`; '' for localhost/host. */
  readonly id: string;
  readonly sizeBytes: number;
  /** RFC 3339; when it was pulled or imported here. '' where the runtime does not tell. */
  readonly pulledAt: string;
}

/** Who we are to a registry. Never logged. */
export interface RegistryLogin {
  readonly username: string;
  readonly password: string;
}

export interface PullOptions {
  /** How far it is. */
  readonly onProgress?: (line: string) => void;
  /** The first that works counts; none: as root has logged in on this machine, or as nobody. */
  readonly logins?: readonly RegistryLogin[];
  /** Who gives up waits no longer; when nobody waits any more the pull ends. */
  readonly signal?: AbortSignal;
}

export interface ImageService {
  list(): Promise<Image[]>;
  /** The image where it is present. */
  status(ref: string): Promise<Image | undefined>;
  /** Fetches from a registry and unpacks. One fetch a reference at a time, however many ask. */
  pull(ref: string, options?: PullOptions): Promise<Image>;
  /** Brings in a docker-archive or oci-archive file under the names it carries (or `ref`). The CRI has no call for it. */
  importArchive(
    path: string,
    options?: { ref?: string; onProgress?: (line: string) => void },
  ): Promise<Image[]>;
  /** Removes a name, and the files when no name is left. Refused while a container uses it. */
  remove(ref: string): Promise<void>;
}
