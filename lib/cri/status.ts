// What a container runtime tells of sandboxes and containers, in the words of lib/container/cri.ts. Pure.
// Assumes the labels and annotations of requests.ts.
import type { ContainerStatus, PodSandboxStatus } from '../container/cri.ts';
import type { RemoteContainerStatus, RemoteSandbox, RemoteState } from './messages.ts';
import { hashAnnotation, imageAnnotation, podUidLabel } from './requests.ts';

/** RFC 3339 with nanoseconds, of nanoseconds since the epoch. */
export function timeOf(nanoseconds: string): string {
  const all = BigInt(nanoseconds);
  const milliseconds = Number(all / 1_000_000n);
  const rest = (all % 1_000_000_000n).toString().padStart(9, '0');
  return `${new Date(milliseconds).toISOString().slice(0, 19)}.${rest}Z`;
}

export function toSandboxStatus(sandbox: RemoteSandbox, ips: readonly string[]): PodSandboxStatus {
  const { namespace, name, uid, attempt } = sandbox.metadata;
  return {
    id: sandbox.id,
    namespace,
    name,
    uid,
    attempt,
    state: sandbox.state === 'SANDBOX_READY' ? 'ready' : 'notready',
    createdAt: timeOf(sandbox.createdAt),
    ips,
  };
}

/** IPv4 first, as everywhere. */
export function ipsOf(network: { ip: string; additionalIps: readonly { ip: string }[] } | null): string[] {
  const all = [network?.ip ?? '', ...(network?.additionalIps ?? []).map(({ ip }) => ip)].filter(Boolean);
  return all.sort((a, b) => Number(a.includes(':')) - Number(b.includes(':')));
}

// What the runtime cannot tell about any more has ended, as far as can be known.
const states: Readonly<Record<RemoteState, ContainerStatus['state']>> = {
  CONTAINER_CREATED: 'created',
  CONTAINER_RUNNING: 'running',
  CONTAINER_EXITED: 'exited',
  CONTAINER_UNKNOWN: 'exited',
};

export function toContainerStatus(found: RemoteContainerStatus, sandboxId: string): ContainerStatus {
  const { metadata, labels, annotations } = found;
  const state = states[found.state];
  const message = found.message.trim();
  return {
    id: found.id,
    sandboxId,
    podUid: labels[podUidLabel] ?? '',
    name: metadata.name,
    attempt: metadata.attempt,
    image: annotations[imageAnnotation] ?? found.image?.image ?? '',
    imageId: digestOf(found.imageRef),
    hash: annotations[hashAnnotation] ?? '',
    state,
    createdAt: timeOf(found.createdAt),
    ...(found.startedAt === '0' ? {} : { startedAt: timeOf(found.startedAt) }),
    ...(state === 'exited'
      ? {
          finishedAt: timeOf(found.finishedAt === '0' ? found.createdAt : found.finishedAt),
          exitCode: found.state === 'CONTAINER_UNKNOWN' ? unknownExitCode : found.exitCode,
          ...(found.state === 'CONTAINER_UNKNOWN' ? { reason: 'ContainerStatusUnknown' } : {}),
          ...(found.state === 'CONTAINER_EXITED' && found.reason ? { reason: found.reason } : {}),
        }
      : {}),
    ...(message ? { message } : {}),
    logPath: found.logPath,
  };
}

/** Kubernetes' for a container that was lost. */
const unknownExitCode = 137;

/** `sha256:…` of `docker.io/library/nginx@sha256:…`; an image that never was in a registry goes by its own. */
export const digestOf = (imageRef: string): string => imageRef.slice(imageRef.indexOf('@') + 1);

/** The container's first process on this machine, in what containerd and CRI-O tell beyond the CRI. */
export function pidIn(info: Readonly<Record<string, string>>): number | undefined {
  try {
    const { pid } = JSON.parse(info.info ?? '{}') as { pid?: unknown };
    return typeof pid === 'number' && pid > 1 ? pid : undefined;
  } catch {
    return undefined;
  }
}
