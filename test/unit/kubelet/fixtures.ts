// Small Pods and runtime records for the kubelet's unit tests.
import type { Container, Pod, PodSpec } from '../../../lib/api/types.ts';
import type { ContainerStatus, PodSandboxStatus } from '../../../lib/container/cri.ts';

export function pod(spec: Partial<PodSpec> & { containers?: Container[] } = {}, metadata: object = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'web',
      namespace: 'default',
      uid: 'u1',
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...metadata,
    },
    spec: { restartPolicy: 'Always', containers: [{ name: 'a', image: 'i' }], ...spec },
  };
}

export function sandbox(over: Partial<PodSandboxStatus> = {}): PodSandboxStatus {
  return {
    id: 'web-0000000000',
    namespace: 'default',
    name: 'web',
    uid: 'u1',
    attempt: 0,
    state: 'ready',
    createdAt: '2026-01-01T00:00:00.000Z',
    ips: ['10.244.0.2'],
    ...over,
  };
}

export function container(over: Partial<ContainerStatus> = {}): ContainerStatus {
  return {
    id: 'c1',
    sandboxId: 'web-0000000000',
    podUid: 'u1',
    name: 'a',
    attempt: 0,
    image: 'i',
    imageId: 'sha256:1',
    hash: 'h',
    state: 'running',
    createdAt: '2026-01-01T00:00:00.000Z',
    startedAt: '2026-01-01T00:00:01.500Z',
    logPath: '/log',
    ...over,
  };
}

export const exited = (exitCode: number, over: Partial<ContainerStatus> = {}): ContainerStatus =>
  container({
    state: 'exited',
    exitCode,
    reason: exitCode === 0 ? 'Completed' : 'Error',
    finishedAt: '2026-01-01T00:00:09.100Z',
    ...over,
  });
