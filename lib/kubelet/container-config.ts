// One container of a Pod as the runtime wants it: command, security, mounts. Pure.
// Assumes a defaulted, validated Pod; errors name the field. O(environment + mounts).
// Source: kubelet's generateContainerConfig, DetermineEffectiveSecurityContext.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Container, Pod } from '../api/types.ts';
import type { ContainerConfig, Mount, SecurityConfig } from '../container/cri.ts';
import { ContainerConfigError } from './environment.ts';
import { expand } from './expansion.ts';
import { containerResources, type NodeLimits } from './resources.ts';
import type { PodVolumes } from './volumes/volume.ts';

/** Changes when the container must be replaced; its resources change while it runs. */
export function containerHash({ resources: _, resizePolicy: _policy, ...container }: Container): string {
  return createHash('sha256').update(JSON.stringify(container)).digest('hex').slice(0, 16);
}

function securityConfig({ pod, container, seccompDir }: ContainerConfigInput): SecurityConfig {
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
    supplementalGroups: [
      ...(ofPod.supplementalGroups ?? []),
      ...(ofPod.fsGroup === undefined ? [] : [ofPod.fsGroup]),
    ],
    capabilitiesAdd: own.capabilities?.add ?? [],
    capabilitiesDrop: own.capabilities?.drop ?? [],
    ...(ofPod.supplementalGroupsPolicy === undefined
      ? {}
      : { supplementalGroupsPolicy: ofPod.supplementalGroupsPolicy }),
    ...(own.procMount === 'Unmasked' ? { unmaskedProc: true as const } : {}),
    ...seccompConfig(privileged ? { type: 'Unconfined' } : profile, seccompDir),
  };
}

type SeccompChoice = NonNullable<NonNullable<Container['securityContext']>['seccompProfile']>;

function seccompConfig(
  profile: SeccompChoice | undefined,
  dir: string,
): Pick<SecurityConfig, 'seccomp' | 'seccompPath'> {
  if (profile?.type === 'Localhost')
    return { seccomp: 'Localhost', seccompPath: join(dir, profile.localhostProfile ?? '') };
  return { seccomp: profile?.type === 'Unconfined' ? 'Unconfined' : 'RuntimeDefault' };
}

const propagations = { None: 'private', HostToContainer: 'rslave', Bidirectional: 'rshared' } as const;

function volumeMounts({ container, volumes, subPaths }: ContainerConfigInput): Mount[] {
  return (container.volumeMounts ?? []).map((mount, index) => {
    const volume = volumes.get(mount.name);
    if (volume === undefined) throw new ContainerConfigError(`volume "${mount.name}" is not set up`);
    const recursive = mount.recursiveReadOnly ?? 'Disabled';
    return {
      hostPath: subPaths?.get(index) ?? volume.path,
      containerPath: mount.mountPath,
      readOnly: volume.readOnly || (mount.readOnly ?? false),
      propagation: propagations[(mount.mountPropagation ?? 'None') as keyof typeof propagations],
      ...(recursive === 'Disabled' ? {} : { recursiveReadOnly: true }),
    };
  });
}

export interface ContainerConfigInput {
  readonly pod: Pod;
  readonly container: Container;
  readonly attempt: number;
  /** Its environment. */
  readonly vars: ReadonlyMap<string, string>;
  readonly volumes: PodVolumes;
  /** Path on the node of the mounts that show a part of a volume, by index. */
  readonly subPaths?: ReadonlyMap<number, string>;
  /** Folder of this Pod's logs. */
  readonly logDir: string;
  /** File that becomes terminationMessagePath. */
  readonly terminationLog: string;
  readonly limits: NodeLimits;
  /** Id of the container whose processes it is to see. */
  readonly pidTarget?: string;
  /** Where Localhost seccomp profiles are. */
  readonly seccompDir: string;
}

/** @throws ContainerConfigError naming what cannot be satisfied */
export function containerConfig(input: ContainerConfigInput): ContainerConfig {
  const { container, attempt, vars } = input;
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
      ...volumeMounts(input),
      {
        hostPath: input.terminationLog,
        containerPath: container.terminationMessagePath ?? '/dev/termination-log',
        readOnly: false,
      },
    ],
    security: securityConfig(input),
    resources: containerResources(input.pod, container, input.limits),
    ...(container.lifecycle?.stopSignal ? { stopSignal: container.lifecycle.stopSignal } : {}),
    tty: container.tty ?? false,
    stdin: container.stdin ?? false,
    ...(container.stdinOnce ? { stdinOnce: true } : {}),
    ...(input.pidTarget === undefined ? {} : { pidTarget: input.pidTarget }),
    logPath: join(input.logDir, container.name, `${attempt}.log`),
    hash: containerHash(container),
  };
}
