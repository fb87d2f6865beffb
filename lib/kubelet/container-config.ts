// One container of a Pod as the runtime wants it: environment, command, security, mounts. Pure.
// Assumes a defaulted, validated Pod; errors name the field. O(environment + mounts).
// Source: kubelet's makeEnvironmentVariables, DetermineEffectiveSecurityContext.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Container, Pod } from '../api/types.ts';
import type { ContainerConfig, Mount, SecurityConfig } from '../container/cri.ts';
import { PodwireError } from '../exec/errors.ts';
import { expand } from './expansion.ts';
import { containerResources } from './resources.ts';

/** CreateContainerConfigError of kubelet: the spec cannot be turned into a container. */
export class ContainerConfigError extends PodwireError {
  constructor(message: string) {
    super('CreateContainerConfigError', message);
  }
}

/** What a container's environment may ask about: the node and the Pod's addresses. */
export interface PodFacts {
  readonly hostIP: string;
  readonly podIPs: readonly string[];
}

/** Changes when the container must be replaced. */
export function containerHash(container: Container): string {
  return createHash('sha256').update(JSON.stringify(container)).digest('hex').slice(0, 16);
}

/** Whether the environment asks for the Pod's address, so that the container cannot be created before it is known. */
export function needsPodIP(container: Container): boolean {
  return (container.env ?? []).some((env) => env.valueFrom?.fieldRef?.fieldPath?.startsWith('status.podIP'));
}

function fieldValue(pod: Pod, facts: PodFacts, path: string): string {
  const keyed = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (keyed) return pod.metadata[keyed[1] as 'labels' | 'annotations']?.[keyed[2] as string] ?? '';
  const values: Record<string, () => string> = {
    'metadata.name': () => pod.metadata.name,
    'metadata.namespace': () => pod.metadata.namespace,
    'metadata.uid': () => pod.metadata.uid,
    'spec.nodeName': () => pod.spec.nodeName ?? '',
    'spec.serviceAccountName': () => pod.spec.serviceAccountName ?? '',
    'status.hostIP': () => facts.hostIP,
    'status.hostIPs': () => facts.hostIP,
    'status.podIP': () => facts.podIPs[0] ?? '',
    'status.podIPs': () => facts.podIPs.join(','),
  };
  const value = values[path];
  if (!value) throw new ContainerConfigError(`env fieldRef "${path}" is not supported`);
  return value();
}

/** The environment in the order of the spec; later values may refer to earlier ones. */
export function environment(pod: Pod, container: Container, facts: PodFacts): Map<string, string> {
  const vars = new Map<string, string>();
  for (const env of container.env ?? []) {
    const path = env.valueFrom?.fieldRef?.fieldPath;
    vars.set(env.name, path === undefined ? expand(env.value ?? '', vars) : fieldValue(pod, facts, path));
  }
  return vars;
}

function securityConfig(pod: Pod, container: Container): SecurityConfig {
  const ofPod = pod.spec.securityContext ?? {};
  const own = container.securityContext ?? {};
  const privileged = own.privileged ?? false;
  const runAsUser = own.runAsUser ?? ofPod.runAsUser;
  const runAsGroup = own.runAsGroup ?? ofPod.runAsGroup;
  if ((own.runAsNonRoot ?? ofPod.runAsNonRoot) && runAsUser === 0)
    throw new ContainerConfigError(`container ${container.name}: runAsNonRoot is set, but runAsUser is 0`);
  const profile = own.seccompProfile ?? ofPod.seccompProfile;
  return {
    privileged,
    readOnlyRootFilesystem: own.readOnlyRootFilesystem ?? false,
    allowPrivilegeEscalation: privileged || (own.allowPrivilegeEscalation ?? true),
    runAsNonRoot: own.runAsNonRoot ?? ofPod.runAsNonRoot ?? false,
    ...(runAsUser === undefined ? {} : { runAsUser }),
    ...(runAsGroup === undefined ? {} : { runAsGroup }),
    supplementalGroups: ofPod.supplementalGroups ?? [],
    capabilitiesAdd: own.capabilities?.add ?? [],
    capabilitiesDrop: own.capabilities?.drop ?? [],
    seccomp: privileged || profile?.type === 'Unconfined' ? 'Unconfined' : 'RuntimeDefault',
  };
}

const propagations = { None: 'private', HostToContainer: 'rslave', Bidirectional: 'rshared' } as const;

function volumeMounts(container: Container, volumes: ReadonlyMap<string, string>): Mount[] {
  return (container.volumeMounts ?? []).map((mount) => {
    const hostPath = volumes.get(mount.name);
    if (hostPath === undefined) throw new ContainerConfigError(`volume "${mount.name}" is not set up`);
    return {
      hostPath,
      containerPath: mount.mountPath,
      readOnly: mount.readOnly ?? false,
      propagation: propagations[(mount.mountPropagation ?? 'None') as keyof typeof propagations],
    };
  });
}

export interface ContainerConfigInput {
  readonly pod: Pod;
  readonly container: Container;
  readonly attempt: number;
  readonly facts: PodFacts;
  /** Host path of each volume of the Pod. */
  readonly volumes: ReadonlyMap<string, string>;
  /** Folder of this Pod's logs. */
  readonly logDir: string;
  /** File that becomes terminationMessagePath. */
  readonly terminationLog: string;
  readonly pidsLimit: number;
}

/** @throws ContainerConfigError naming what cannot be satisfied */
export function containerConfig(input: ContainerConfigInput): ContainerConfig {
  const { pod, container, attempt, facts } = input;
  const vars = environment(pod, container, facts);
  const expanded = (words: readonly string[]): string[] => words.map((word) => expand(word, vars));
  return {
    name: container.name,
    attempt,
    image: container.image ?? '',
    ...(container.command?.length ? { command: expanded(container.command) } : {}),
    ...(container.args?.length ? { args: expanded(container.args) } : {}),
    ...(container.workingDir ? { workingDir: container.workingDir } : {}),
    env: [...vars].map(([name, value]) => ({ name, value })),
    mounts: [
      ...volumeMounts(container, input.volumes),
      {
        hostPath: input.terminationLog,
        containerPath: container.terminationMessagePath ?? '/dev/termination-log',
        readOnly: false,
      },
    ],
    security: securityConfig(pod, container),
    resources: containerResources(container, input.pidsLimit),
    tty: container.tty ?? false,
    stdin: container.stdin ?? false,
    logPath: join(input.logDir, container.name, `${attempt}.log`),
    hash: containerHash(container),
  };
}
