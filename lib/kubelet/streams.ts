// logs, exec, attach and ports of this node's Pods, for whoever serves the API (lib/api/streams.ts is the contract).
// Assumes the Pod is of this node and the container is one of its spec. Errors are ApiErrors in kubelet's words.
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { ApiError } from '../api/errors.ts';
import { findContainer, statusOfContainer } from '../api/pod-containers.ts';
import type { AttachOptions, ExecOptions, LogOptions, PodStreams } from '../api/streams.ts';
import type { Pod } from '../api/types.ts';
import type { ContainerStatus, ExecSession, RuntimeService } from '../container/cri.ts';
import { hasLog } from '../container/log-files.ts';
import { readLogs } from '../container/logs.ts';
import { messageOf } from '../exec/errors.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { podLogDir, runtimeUid } from './layout.ts';
import { runtimeStatusOf } from './pod-state.ts';

export class NodeStreams implements PodStreams {
  readonly #runtime: RuntimeService;
  readonly #paths: NodePaths;
  constructor(runtime: RuntimeService, paths: NodePaths) {
    this.#runtime = runtime;
    this.#paths = paths;
  }

  /** @throws ApiError BadRequest while there is no such log */
  async *logs(pod: Pod, request: LogOptions, signal: AbortSignal): AsyncIterable<Buffer | string> {
    const path = await this.#logPath(pod, request);
    const sinceMs = request.sinceSeconds === undefined ? undefined : Date.now() - request.sinceSeconds * 1000;
    const sinceTime =
      request.sinceTime ?? (sinceMs === undefined ? undefined : new Date(sinceMs).toISOString());
    yield* readLogs({
      path,
      signal,
      follow: request.follow,
      timestamps: request.timestamps,
      tailLines: request.tailLines,
      limitBytes: request.limitBytes,
      sinceTime,
      isFinished: () =>
        !this.#runtime.listContainers().some((c) => c.logPath === path && c.state !== 'exited'),
    });
  }

  /** @throws ApiError BadRequest when the container does not run */
  async exec(pod: Pod, { container, command, tty, stdin }: ExecOptions): Promise<ExecSession> {
    const id = this.#running(pod, container);
    return this.#runtime.exec(id, { argv: command, tty, stdin }).catch(asApiError);
  }

  /** @throws ApiError BadRequest when the container does not run, or has no input or terminal to join */
  async attach(pod: Pod, { container, tty, stdin }: AttachOptions): Promise<ExecSession> {
    const id = this.#running(pod, container);
    const spec = findContainer(pod.spec, container);
    const refuse = (what: string): never => {
      const said = `container "${container}" in pod "${pod.metadata.name}" was not made with ${what}`;
      throw new ApiError('BadRequest', said);
    };
    if (tty && !spec?.tty) refuse('tty: true');
    if (stdin && !spec?.stdin) refuse('stdin: true');
    return this.#runtime.attach(id, { stdin, tty: spec?.tty ?? false }).catch(asApiError);
  }

  async portForward(pod: Pod, port: number): Promise<Duplex> {
    const { sandboxes } = runtimeStatusOf(this.#runtime, runtimeUid(pod));
    const ready = sandboxes.find(({ state }) => state === 'ready');
    if (!ready)
      throw new ApiError(
        'BadRequest',
        `unable to forward port because pod "${pod.metadata.name}" is not running`,
      );
    return this.#runtime.portForward(ready.id, port).catch(asApiError);
  }

  /** The container that runs now. @throws ApiError BadRequest */
  #running(pod: Pod, container: string): string {
    const [latest] = this.#containers(pod, container);
    if (latest?.state === 'running') return latest.id;
    const message = `container "${container}" in pod "${pod.metadata.name}" is not running`;
    throw new ApiError('BadRequest', message);
  }

  #containers(pod: Pod, name: string): ContainerStatus[] {
    const { containers } = runtimeStatusOf(this.#runtime, runtimeUid(pod));
    return containers.filter((container) => container.name === name);
  }

  /** By the runtime's records; for a Pod that has ended and gave them back, by its status. */
  async #logPath(pod: Pod, { container, previous }: LogOptions): Promise<string> {
    const records = this.#containers(pod, container);
    const status = statusOfContainer(pod.status, container);
    const attempt = (records[0]?.attempt ?? status?.restartCount ?? 0) - (previous ? 1 : 0);
    const path = join(podLogDir(this.#paths, pod), container, `${attempt}.log`);
    const { name } = pod.metadata;
    const isThere = await hasLog(path);
    if (previous && !isThere)
      throw new ApiError(
        'BadRequest',
        `previous terminated container "${container}" in pod "${name}" not found`,
      );
    // The log is there before the first process runs; to a user that container still waits.
    const begun = previous || records[0]?.state !== 'created';
    if (begun && isThere) return path;
    const reason = status?.state?.waiting?.reason ?? 'ContainerCreating';
    throw new ApiError(
      'BadRequest',
      `container "${container}" in pod "${name}" is waiting to start: ${reason}`,
    );
  }
}

function asApiError(error: unknown): never {
  throw new ApiError('InternalError', messageOf(error), undefined, { cause: error });
}
