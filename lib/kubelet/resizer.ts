// Gives the containers of a Pod the resources that its spec asks for, without ending them where that can be.
// Assumes the Pod's worker calls it, one call at a time; repeatable at any point. A Pod whose size stays costs one comparison.
import { isDeepStrictEqual } from 'node:util';
import { findContainer } from '../api/pod-containers.ts';
import type { Container, Pod } from '../api/types.ts';
import type { LinuxResources } from '../container/cri.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';
import { cgroupUsage } from '../kernel/cgroup-usage.ts';
import { podCgroup } from '../sandbox/sandbox.ts';
import { latestContainer, type PodRuntimeStatus } from './pod-actions.ts';
import { allocatedPod, type PodState } from './pod-state.ts';
import {
  containerChanges,
  decideResize,
  desiredSizes,
  memoryFault,
  type Requirements,
  roomFor,
  startResizing,
  withSizes,
} from './resize.ts';
import { containerResources, podResources } from './resources.ts';
import type { SyncContext } from './sync-context.ts';

/** What was put off, or failed, is tried again; a Pod that leaves the node wakes those that were put off. */
const retryMs = 10_000;

export class PodResizer {
  readonly #context: SyncContext;

  constructor(context: SyncContext) {
    this.#context = context;
  }

  /** Asks the node for what the spec wants. Gives the milliseconds until it must be asked again. */
  allocate(state: PodState): number | undefined {
    state.sizes ??= startResizing(state.pod);
    const { pod, sizes } = state;
    const { node, otherPods } = this.#context;
    if (isDeepStrictEqual(desiredSizes(pod), sizes.allocated)) {
      sizes.pending = undefined;
      return undefined;
    }
    const { allocatable } = node;
    const decision = decideResize({ pod, allocated: sizes.allocated, others: otherPods(pod), allocatable });
    if (decision === 'nothing') return undefined;
    if (decision === 'allocate') {
      sizes.pending = undefined;
      sizes.allocated = desiredSizes(pod);
      this.#tell(pod, 'Normal', 'ResizeStarted', 'Pod resize started');
      return undefined;
    }
    if (sizes.pending?.message !== decision.message)
      this.#tell(
        pod,
        'Warning',
        `Resize${decision.reason}`,
        `Pod resize ${decision.reason}: ${decision.message}`,
      );
    sizes.pending = decision;
    return decision.reason === 'Deferred' ? retryMs : undefined;
  }

  /** Containers that must begin anew to have what was allocated. */
  restarts(state: PodState): ReadonlySet<string> {
    const changes = state.sizes ? containerChanges(state.pod, state.sizes) : [];
    return new Set(changes.filter(({ restart }) => restart).map(({ name }) => name));
  }

  /** Changes what runs, the others get it when they begin. Gives the milliseconds until it must be tried again. */
  async apply(state: PodState, runtime: PodRuntimeStatus): Promise<number | undefined> {
    const { sizes } = state;
    if (!sizes || isDeepStrictEqual(sizes.allocated, sizes.applied)) return undefined;
    const hadError = sizes.error;
    try {
      await this.#apply(state, runtime);
    } catch (error) {
      sizes.error = messageOf(error);
      if (hadError !== sizes.error) this.#tell(state.pod, 'Warning', 'ResizeError', sizes.error);
      return retryMs;
    }
    sizes.error = undefined;
    sizes.applied = sizes.allocated;
    this.#tell(state.pod, 'Normal', 'ResizeCompleted', 'Pod resize completed');
    return undefined;
  }

  async #apply(state: PodState, runtime: PodRuntimeStatus): Promise<void> {
    const { sizes } = state;
    if (!sizes) return;
    const { node, runtime: service } = this.#context;
    const { limits } = node;
    const after = allocatedPod(state);
    const [before, now] = [
      podResources(withSizes(state.pod, sizes.applied), limits),
      podResources(after, limits),
    ];
    const [sandbox] = runtime.sandboxes;
    if (!sandbox) return; // it is made as it was allocated
    const group = podCgroup(this.#context.paths, state.pod.metadata.uid);
    this.#checkMemory('pod', { before, now, group });
    const setPod = (resources: LinuxResources) => service.updatePodSandboxResources(sandbox.id, resources);
    await setPod(roomFor(before, now));
    for (const { name, restart } of containerChanges(state.pod, sizes)) {
      const running = latestContainer(runtime, name);
      const was = { name, resources: sizes.applied.get(name) ?? {} } as Container;
      const container = findContainer(after.spec, name) as Container;
      if (running?.state === 'running' && !restart) {
        const resources = containerResources(after, container, limits);
        const old = containerResources(after, was, limits);
        this.#checkMemory(`container "${name}"`, {
          before: old,
          now: resources,
          group: `${group}/${running.id}`,
        });
        await service.updateContainerResources(running.id, resources);
      }
      sizes.applied = new Map(sizes.applied).set(name, container.resources as Requirements);
    }
    await setPod(now);
  }

  /** @throws PodwireError RESIZE_BELOW_USAGE */
  #checkMemory(
    what: string,
    { before, now, group }: { before: LinuxResources; now: LinuxResources; group: string },
  ): void {
    if ((now.memoryLimit ?? Number.POSITIVE_INFINITY) >= (before.memoryLimit ?? Number.POSITIVE_INFINITY))
      return;
    const fault = memoryFault(what, now, cgroupUsage(group)?.workingSet);
    if (fault !== undefined) throw new PodwireError('RESIZE_BELOW_USAGE', fault);
  }

  #tell(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#context.events.record(pod, { type, reason, message });
  }
}
