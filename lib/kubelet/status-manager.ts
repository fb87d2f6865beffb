// Writes Pod statuses to the API: computed from the runtime, written only when they changed, in order.
// Assumes the object may vanish or change under a write: Conflict is tried again, NotFound is the end of it.
// One API write a change of status.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import { findContainer } from '../api/pod-containers.ts';
import type { Pod } from '../api/types.ts';
import type { ContainerStatus } from '../container/cri.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { runtimeUid, terminationLogPath } from './layout.ts';
import type { PodRuntimeStatus, ProbeResults } from './pod-actions.ts';
import { foreignConditions, ownConditions } from './pod-conditions.ts';
import type { PodState } from './pod-state.ts';
import { podStatus } from './status.ts';

/** Annotation with the steps of the Pod's first start: JSON, an array of {name, start, ms}. */
export const startStepsAnnotation = 'podwire.dev/start-steps';

export class StatusManager {
  readonly #client: Client;
  readonly #paths: NodePaths;
  readonly #hostIP: string;
  readonly #probesOf: (pod: Pod) => ProbeResults;
  readonly #retry: (uid: string) => void;
  readonly #log: Logger;

  constructor(input: {
    client: Client;
    paths: NodePaths;
    hostIP: string;
    probesOf: (pod: Pod) => ProbeResults;
    /** Told of a Pod whose status could not be written. */
    retry: (uid: string) => void;
    log: Logger;
  }) {
    this.#client = input.client;
    this.#paths = input.paths;
    this.#hostIP = input.hostIP;
    this.#probesOf = input.probesOf;
    this.#retry = input.retry;
    this.#log = input.log;
  }

  /** Computes the status and, when it changed, writes it in the background (state.writes). Gives the phase. */
  write(state: PodState, found: PodRuntimeStatus): string {
    const runtime = withoutBeginning(state, found);
    for (const container of runtime.containers) this.#readMessage(state, container);
    const { pod, waiting, messages, failed, sizes } = state;
    const now = new Date().toISOString();
    const foreign = foreignConditions(pod);
    const last = state.lastStatus ?? pod.status;
    const known = { ...pod, status: { ...last, conditions: [...ownConditions(last), ...foreign] } };
    const hostIP = this.#hostIP;
    const probes = this.#probesOf(pod);
    const own = podStatus({ pod: known, runtime, hostIP, waiting, messages, probes, failed, sizes, now });
    const status = { ...own, conditions: [...ownConditions(own), ...foreign] };
    if (isDeepStrictEqual(plain(status), plain(last))) return status.phase ?? 'Pending';
    state.lastStatus = status;
    state.writes = state.writes.then(() => this.#put(state, pod, status));
    return status.phase ?? 'Pending';
  }

  /** Keeps the steps of the first start as an annotation, once; not on the way of anything. */
  publishSteps(state: PodState): void {
    const { clock, pod } = state;
    if (!clock) return;
    state.clock = undefined;
    const annotations = { [startStepsAnnotation]: JSON.stringify(clock.steps) };
    const { namespace, name } = pod.metadata;
    this.#client
      .patch('pods', { namespace, name }, { metadata: { annotations } })
      .catch((error) => this.#log.debug({ err: error, pod: name }, 'start steps not written'));
  }

  /** The Pod has left the node: removes its object at once. A mirror, or an object of another uid, is left alone. */
  async removeObject(state: PodState): Promise<void> {
    await state.writes;
    const { namespace, name, uid } = state.pod.metadata;
    try {
      await this.#client.delete(
        'pods',
        { namespace, name },
        { gracePeriodSeconds: 0, preconditions: { uid } },
      );
    } catch (error) {
      if (!isReason(error, 'NotFound') && !isReason(error, 'Conflict')) throw error;
    }
  }

  async #put(state: PodState, pod: Pod, status: NonNullable<Pod['status']>): Promise<void> {
    const { namespace, name } = pod.metadata;
    try {
      const current = await this.#client.get('pods', { namespace, name });
      if (runtimeUid(current) !== runtimeUid(pod)) return; // another Pod of that name
      const { resourceVersion: _, ...metadata } = current.metadata;
      // Others may have set theirs since the Pod was last seen here.
      const conditions = [...ownConditions(status), ...foreignConditions(current)];
      await this.#client.updateStatus('pods', {
        ...current,
        metadata: metadata as Pod['metadata'],
        status: { ...status, conditions },
      });
    } catch (error) {
      if (isReason(error, 'NotFound')) return; // removed meanwhile
      this.#log.error({ err: error, pod: name, namespace }, 'status not written');
      state.writeError = error;
      state.lastStatus = undefined; // not what the API has
      this.#retry(pod.metadata.uid);
    }
  }

  #readMessage(state: PodState, container: ContainerStatus): void {
    if (container.state !== 'exited' || state.messages.has(container.id)) return;
    const spec = findContainer(state.pod.spec, container.name);
    const path = terminationLogPath(this.#paths, state.pod.metadata.uid, container.name, container.attempt);
    let text = tail(path, 4096);
    if (!text && spec?.terminationMessagePolicy === 'FallbackToLogsOnError' && container.exitCode !== 0)
      text = logTail(container.logPath);
    state.messages.set(container.id, text);
  }
}

/** A container counts as running when its postStart hook is over. */
function withoutBeginning({ beginning }: PodState, runtime: PodRuntimeStatus): PodRuntimeStatus {
  if (beginning.size === 0) return runtime;
  const containers = runtime.containers.map((container) =>
    beginning.has(container.id) && container.state === 'running'
      ? { ...container, state: 'created' as const }
      : container,
  );
  return { ...runtime, containers };
}

/** Undefined members do not count: the API never stores them. */
const plain = (value: unknown): unknown =>
  value === undefined ? undefined : JSON.parse(JSON.stringify(value));

/** The last `bytes` of a file, '' where there is none. */
function tail(path: string, bytes: number): string {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return '';
  }
  try {
    const { size } = fstatSync(fd);
    const buffer = Buffer.alloc(Math.min(size, bytes));
    readSync(fd, buffer, 0, buffer.length, Math.max(0, size - bytes));
    return buffer.toString('utf8');
  } finally {
    closeSync(fd);
  }
}

/** Kubernetes: the last 80 lines or 2048 bytes of output, whichever is less; without the CRI log's own columns. */
function logTail(path: string): string {
  const lines = tail(path, 8192).split('\n').filter(Boolean).slice(-80);
  return lines
    .map((line) => line.split(' ').slice(3).join(' '))
    .join('\n')
    .slice(-2048);
}
