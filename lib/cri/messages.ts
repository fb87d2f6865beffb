// The messages of protocol.ts as types: what is sent may leave fields out, what is received has all of them (defaults
// filled in). int64 are texts: nanoseconds do not fit a number.

export interface Metadata {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly attempt: number;
}

type Labels = Readonly<Record<string, string>>;
type Mode = 'POD' | 'CONTAINER' | 'NODE' | 'TARGET';

export interface NamespaceOption {
  readonly network: Mode;
  readonly pid: Mode;
  readonly ipc: Mode;
  /** With TARGET: a container. */
  readonly targetId?: string;
}

export interface SecurityProfile {
  readonly profileType: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  readonly localhostRef?: string;
}

export interface SandboxMessage {
  readonly metadata: Metadata;
  readonly hostname: string;
  readonly logDirectory: string;
  readonly dnsConfig: { servers: readonly string[]; searches: readonly string[]; options: readonly string[] };
  readonly portMappings: readonly {
    protocol: string;
    containerPort: number;
    hostPort: number;
    hostIp: string;
  }[];
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly linux: {
    readonly cgroupParent: string;
    readonly sysctls: Labels;
    readonly securityContext: {
      readonly namespaceOptions: NamespaceOption;
      readonly seccomp: SecurityProfile;
      readonly privileged?: boolean;
    };
  };
}

export interface MountMessage {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly: boolean;
  readonly propagation: string;
  readonly recursiveReadOnly?: boolean;
}

export interface ContainerMessage {
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly image: { readonly image: string };
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly envs: readonly { key: string; value: string }[];
  readonly mounts: readonly MountMessage[];
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly logPath: string;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  readonly linux: {
    readonly resources: Readonly<Record<string, number | Labels | readonly object[]>>;
    readonly securityContext: Readonly<Record<string, boolean | string | object>>;
  };
}

export interface RemoteSandbox {
  readonly id: string;
  readonly metadata: Metadata;
  readonly state: 'SANDBOX_READY' | 'SANDBOX_NOTREADY';
  readonly createdAt: string;
  readonly labels: Labels;
}

export type RemoteState =
  | 'CONTAINER_CREATED'
  | 'CONTAINER_RUNNING'
  | 'CONTAINER_EXITED'
  | 'CONTAINER_UNKNOWN';

export interface RemoteContainer {
  readonly id: string;
  readonly podSandboxId: string;
  readonly imageRef: string;
  readonly state: RemoteState;
}

export interface RemoteContainerStatus {
  readonly id: string;
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly state: RemoteState;
  readonly createdAt: string;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly exitCode: number;
  readonly image: { readonly image: string } | null;
  readonly imageRef: string;
  readonly reason: string;
  readonly message: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly logPath: string;
}

export interface RemoteImage {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly size: string;
  readonly uid: { readonly value: string } | null;
  readonly username: string;
}

export interface RemoteStatus {
  readonly status: {
    readonly conditions: readonly { type: string; status: boolean; reason: string; message: string }[];
  } | null;
  readonly runtimeHandlers: readonly {
    readonly name: string;
    readonly features: { readonly recursiveReadOnlyMounts: boolean } | null;
  }[];
  readonly features: { readonly supplementalGroupsPolicy: boolean } | null;
}

type OfSandbox = { readonly podSandboxId: string };
type OfContainer = { readonly containerId: string };
type OfImage = { readonly image: { readonly image: string } };
type Selector = { readonly filter: { readonly labelSelector: Labels } };
type Nothing = Record<never, never>;

/** As it is sent: fields may be left out. */
export type Sent<T> = T extends readonly unknown[] | string | number | boolean
  ? T
  : { readonly [K in keyof T]?: Sent<T[K]> };

/** Method → request and response. */
export interface Calls {
  Version: {
    request: Nothing;
    response: { runtimeName: string; runtimeVersion: string; runtimeApiVersion: string };
  };
  Status: { request: Nothing; response: RemoteStatus };
  RunPodSandbox: { request: { config: Sent<SandboxMessage> }; response: OfSandbox };
  StopPodSandbox: { request: OfSandbox; response: Nothing };
  RemovePodSandbox: { request: OfSandbox; response: Nothing };
  PodSandboxStatus: {
    request: OfSandbox;
    response: {
      status:
        | (RemoteSandbox & {
            network: { ip: string; additionalIps: readonly { ip: string }[] } | null;
          })
        | null;
    };
  };
  ListPodSandbox: { request: Selector; response: { items: readonly RemoteSandbox[] } };
  CreateContainer: {
    request: OfSandbox & { config: Sent<ContainerMessage>; sandboxConfig: Sent<SandboxMessage> };
    response: OfContainer;
  };
  StartContainer: { request: OfContainer; response: Nothing };
  StopContainer: { request: OfContainer & { timeout: number }; response: Nothing };
  RemoveContainer: { request: OfContainer; response: Nothing };
  ListContainers: { request: Selector; response: { containers: readonly RemoteContainer[] } };
  ContainerStatus: {
    request: OfContainer & { verbose?: boolean };
    response: { status: RemoteContainerStatus | null; info: Labels };
  };
  ContainerStats: {
    request: OfContainer;
    response: { stats: { writableLayer: { usedBytes: { value: string } | null } | null } | null };
  };
  UpdateContainerResources: {
    request: OfContainer & { linux: ContainerMessage['linux']['resources'] };
    response: Nothing;
  };
  ReopenContainerLog: { request: OfContainer; response: Nothing };
  ExecSync: {
    request: OfContainer & { cmd: readonly string[]; timeout: number };
    response: { stdout: Buffer; stderr: Buffer; exitCode: number };
  };
  Attach: {
    request: { containerId: string; stdin: boolean; tty: boolean; stdout: boolean; stderr: boolean };
    response: { url: string };
  };
  PortForward: { request: { podSandboxId: string; port: readonly number[] }; response: { url: string } };
  Exec: {
    request: OfContainer & {
      cmd: readonly string[];
      tty: boolean;
      stdin: boolean;
      stdout: boolean;
      stderr: boolean;
    };
    response: { url: string };
  };
  ListImages: { request: Nothing; response: { images: readonly RemoteImage[] } };
  ImageStatus: { request: OfImage; response: { image: RemoteImage | null } };
  PullImage: {
    request: OfImage & { auth?: { username: string; password: string; serverAddress?: string } };
    response: { imageRef: string };
  };
  RemoveImage: { request: OfImage; response: Nothing };
}
