// The part of Kubernetes' CRI (runtime.v1) that podwire speaks, as protobuf's JSON description.
// Source of the names and numbers: cri-api of Kubernetes 1.33; they never change, and a runtime that is older or newer
// passes over what it does not know. Fields that nobody here sets or reads are left out.

/** Name → fields as `name type number`; `[]` repeats, `map` is map<string, string>. */
const messages: Readonly<Record<string, string>> = {
  Empty: '',
  VersionRequest: 'version string 1',
  VersionResponse: 'runtimeName string 2, runtimeVersion string 3, runtimeApiVersion string 4',
  StatusResponse: 'status RuntimeStatus 1, runtimeHandlers RuntimeHandler[] 3, features RuntimeFeatures 4',
  RuntimeStatus: 'conditions RuntimeCondition[] 1',
  RuntimeCondition: 'type string 1, status bool 2, reason string 3, message string 4',
  RuntimeHandler: 'name string 1, features RuntimeHandlerFeatures 2',
  RuntimeHandlerFeatures: 'recursiveReadOnlyMounts bool 1',
  RuntimeFeatures: 'supplementalGroupsPolicy bool 1',

  PodSandboxMetadata: 'name string 1, uid string 2, namespace string 3, attempt uint32 4',
  DNSConfig: 'servers string[] 1, searches string[] 2, options string[] 3',
  PortMapping: 'protocol Protocol 1, containerPort int32 2, hostPort int32 3, hostIp string 4',
  NamespaceOption: 'network NamespaceMode 1, pid NamespaceMode 2, ipc NamespaceMode 3, targetId string 4',
  SecurityProfile: 'profileType ProfileType 1, localhostRef string 2',
  LinuxSandboxSecurityContext:
    'namespaceOptions NamespaceOption 1, privileged bool 6, seccomp SecurityProfile 9',
  LinuxPodSandboxConfig:
    'cgroupParent string 1, securityContext LinuxSandboxSecurityContext 2, sysctls map 3',
  PodSandboxConfig:
    'metadata PodSandboxMetadata 1, hostname string 2, logDirectory string 3, dnsConfig DNSConfig 4, portMappings PortMapping[] 5, labels map 6, annotations map 7, linux LinuxPodSandboxConfig 8',
  RunPodSandboxRequest: 'config PodSandboxConfig 1, runtimeHandler string 2',
  RunPodSandboxResponse: 'podSandboxId string 1',
  // Stop, Remove and Status all begin with this field.
  PodSandboxRequest: 'podSandboxId string 1',
  PodSandboxStatusResponse: 'status PodSandboxStatus 1',
  PodSandboxStatus:
    'id string 1, metadata PodSandboxMetadata 2, state PodSandboxState 3, createdAt int64 4, network PodSandboxNetworkStatus 5, labels map 7',
  PodSandboxNetworkStatus: 'ip string 1, additionalIps PodIP[] 2',
  PodIP: 'ip string 1',
  PodSandboxFilter: 'id string 1, labelSelector map 3',
  ListPodSandboxRequest: 'filter PodSandboxFilter 1',
  ListPodSandboxResponse: 'items PodSandbox[] 1',
  PodSandbox:
    'id string 1, metadata PodSandboxMetadata 2, state PodSandboxState 3, createdAt int64 4, labels map 5',

  ImageSpec: 'image string 1',
  KeyValue: 'key string 1, value string 2',
  Mount:
    'containerPath string 1, hostPath string 2, readonly bool 3, propagation MountPropagation 5, recursiveReadOnly bool 8',
  Int64Value: 'value int64 1',
  Capability: 'addCapabilities string[] 1, dropCapabilities string[] 2',
  LinuxContainerResources:
    'cpuPeriod int64 1, cpuQuota int64 2, cpuShares int64 3, memoryLimitInBytes int64 4, oomScoreAdj int64 5, hugepageLimits HugepageLimit[] 8, unified map 9',
  HugepageLimit: 'pageSize string 1, limit uint64 2',
  UpdateContainerResourcesRequest: 'containerId string 1, linux LinuxContainerResources 2',
  ContainerStatsResponse: 'stats ContainerStats 1',
  ContainerStats: 'writableLayer FilesystemUsage 4',
  FilesystemUsage: 'usedBytes UInt64Value 3',
  UInt64Value: 'value uint64 1',
  LinuxContainerSecurityContext:
    'capabilities Capability 1, privileged bool 2, namespaceOptions NamespaceOption 3, runAsUser Int64Value 5, runAsUsername string 6, readonlyRootfs bool 7, supplementalGroups int64[] 8, noNewPrivs bool 11, runAsGroup Int64Value 12, maskedPaths string[] 13, readonlyPaths string[] 14, seccomp SecurityProfile 15, supplementalGroupsPolicy SupplementalGroupsPolicy 17',
  LinuxContainerConfig:
    'resources LinuxContainerResources 1, securityContext LinuxContainerSecurityContext 2',
  ContainerMetadata: 'name string 1, attempt uint32 2',
  ContainerConfig:
    'metadata ContainerMetadata 1, image ImageSpec 2, command string[] 3, args string[] 4, workingDir string 5, envs KeyValue[] 6, mounts Mount[] 7, labels map 9, annotations map 10, logPath string 11, stdin bool 12, stdinOnce bool 13, tty bool 14, linux LinuxContainerConfig 15',
  CreateContainerRequest: 'podSandboxId string 1, config ContainerConfig 2, sandboxConfig PodSandboxConfig 3',
  CreateContainerResponse: 'containerId string 1',
  // Start, Remove and ReopenContainerLog all begin with this field.
  ContainerRequest: 'containerId string 1',
  StopContainerRequest: 'containerId string 1, timeout int64 2',
  ContainerFilter: 'id string 1, podSandboxId string 3, labelSelector map 4',
  ListContainersRequest: 'filter ContainerFilter 1',
  ListContainersResponse: 'containers Container[] 1',
  Container: 'id string 1, podSandboxId string 2, imageRef string 5, state ContainerState 6',
  ContainerStatusRequest: 'containerId string 1, verbose bool 2',
  ContainerStatusResponse: 'status ContainerStatus 1, info map 2',
  ContainerStatus:
    'id string 1, metadata ContainerMetadata 2, state ContainerState 3, createdAt int64 4, startedAt int64 5, finishedAt int64 6, exitCode int32 7, image ImageSpec 8, imageRef string 9, reason string 10, message string 11, labels map 12, annotations map 13, logPath string 15',
  ExecSyncRequest: 'containerId string 1, cmd string[] 2, timeout int64 3',
  ExecSyncResponse: 'stdout bytes 1, stderr bytes 2, exitCode int32 3',
  ExecRequest: 'containerId string 1, cmd string[] 2, tty bool 3, stdin bool 4, stdout bool 5, stderr bool 6',
  // Attach has it too.
  ExecResponse: 'url string 1',
  AttachRequest: 'containerId string 1, stdin bool 2, tty bool 3, stdout bool 4, stderr bool 5',
  PortForwardRequest: 'podSandboxId string 1, port int32[] 2',
  ContainerEventResponse: 'containerId string 1',

  Image:
    'id string 1, repoTags string[] 2, repoDigests string[] 3, size uint64 4, uid Int64Value 5, username string 6',
  ListImagesRequest: '',
  ListImagesResponse: 'images Image[] 1',
  ImageRequest: 'image ImageSpec 1',
  ImageStatusResponse: 'image Image 1',
  AuthConfig: 'username string 1, password string 2, serverAddress string 4',
  PullImageRequest: 'image ImageSpec 1, auth AuthConfig 2',
  PullImageResponse: 'imageRef string 1',
};

const enums: Readonly<Record<string, readonly string[]>> = {
  Protocol: ['TCP', 'UDP', 'SCTP'],
  NamespaceMode: ['POD', 'CONTAINER', 'NODE', 'TARGET'],
  ProfileType: ['RuntimeDefault', 'Unconfined', 'Localhost'],
  SupplementalGroupsPolicy: ['Merge', 'Strict'],
  MountPropagation: ['PROPAGATION_PRIVATE', 'PROPAGATION_HOST_TO_CONTAINER', 'PROPAGATION_BIDIRECTIONAL'],
  PodSandboxState: ['SANDBOX_READY', 'SANDBOX_NOTREADY'],
  ContainerState: ['CONTAINER_CREATED', 'CONTAINER_RUNNING', 'CONTAINER_EXITED', 'CONTAINER_UNKNOWN'],
};

/** Method → request and response. */
const services: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  RuntimeService: {
    Version: 'VersionRequest VersionResponse',
    Status: 'Empty StatusResponse',
    RunPodSandbox: 'RunPodSandboxRequest RunPodSandboxResponse',
    StopPodSandbox: 'PodSandboxRequest Empty',
    RemovePodSandbox: 'PodSandboxRequest Empty',
    PodSandboxStatus: 'PodSandboxRequest PodSandboxStatusResponse',
    ListPodSandbox: 'ListPodSandboxRequest ListPodSandboxResponse',
    CreateContainer: 'CreateContainerRequest CreateContainerResponse',
    StartContainer: 'ContainerRequest Empty',
    StopContainer: 'StopContainerRequest Empty',
    RemoveContainer: 'ContainerRequest Empty',
    ListContainers: 'ListContainersRequest ListContainersResponse',
    ContainerStatus: 'ContainerStatusRequest ContainerStatusResponse',
    ContainerStats: 'ContainerRequest ContainerStatsResponse',
    UpdateContainerResources: 'UpdateContainerResourcesRequest Empty',
    ReopenContainerLog: 'ContainerRequest Empty',
    ExecSync: 'ExecSyncRequest ExecSyncResponse',
    Exec: 'ExecRequest ExecResponse',
    Attach: 'AttachRequest ExecResponse',
    PortForward: 'PortForwardRequest ExecResponse',
    GetContainerEvents: 'Empty stream ContainerEventResponse',
  },
  ImageService: {
    ListImages: 'ListImagesRequest ListImagesResponse',
    ImageStatus: 'ImageRequest ImageStatusResponse',
    PullImage: 'PullImageRequest PullImageResponse',
    RemoveImage: 'ImageRequest Empty',
  },
};

function field(text: string): [string, object] {
  const [name = '', type = '', id] = text.trim().split(' ');
  const at = { id: Number(id) };
  if (type === 'map') return [name, { ...at, keyType: 'string', type: 'string' }];
  if (type.endsWith('[]')) return [name, { ...at, rule: 'repeated', type: type.slice(0, -2) }];
  return [name, { ...at, type }];
}

function method(text: string): object {
  const words = text.split(' ');
  const [requestType, responseType] = [words[0], words.at(-1)];
  return { requestType, responseType, ...(words[1] === 'stream' ? { responseStream: true } : {}) };
}

const mapped = <T>(from: Readonly<Record<string, T>>, turn: (value: T) => object): Record<string, object> =>
  Object.fromEntries(Object.entries(from).map(([name, value]) => [name, turn(value)]));

/** For proto-loader's fromJSON. */
export const protocol = {
  nested: {
    runtime: {
      nested: {
        v1: {
          nested: {
            ...mapped(messages, (fields) => ({
              fields: Object.fromEntries(fields === '' ? [] : fields.split(',').map(field)),
            })),
            ...mapped(enums, (names) => ({
              values: Object.fromEntries(names.map((name, value) => [name, value])),
            })),
            ...mapped(services, (methods) => ({ methods: mapped(methods, method) })),
          },
        },
      },
    },
  },
};
