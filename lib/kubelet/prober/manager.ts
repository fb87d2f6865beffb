// The probes of all containers of this node: workers for those that run, and what they have found out.
// Invariant: a worker exists only for a container that runs; what it found is known by container id, so that a restarted
// container begins anew. Assumes sync() after every change of a Pod. A map access a question, a timer a probe.
import { lastingContainers, statusOfContainer } from '../../api/pod-containers.ts';
import type { Container, Pod, Probe } from '../../api/types.ts';
import type { EventRecorder } from '../../api/events.ts';
import type { ContainerStatus, RuntimeService } from '../../container/cri.ts';
import { messageOf } from '../../exec/errors.ts';
import type { ProbeResult } from '../../probe/result.ts';
import type { PodRuntimeStatus, ProbeResults } from '../pod-actions.ts';
import { runProbe } from './run.ts';
import { firstDelayMs, type Verdict } from './tally.ts';
import { ProbeWorker } from './worker.ts';

export type ProbeType = 'startup' | 'liveness' | 'readiness';
const types: readonly ProbeType[] = ['startup', 'liveness', 'readiness'];
const titles = { startup: 'Startup', liveness: 'Liveness', readiness: 'Readiness' } as const;

const probeOf = (container: Container | undefined, type: ProbeType): Probe | undefined =>
  container?.[`${type}Probe`];
const hasProbes = (container: Container): boolean => types.some((type) => probeOf(container, type));

/** Of one running container. */
interface Probed {
  readonly podUid: string;
  /** An earlier daemon started it. */
  readonly isAdopted: boolean;
  readonly verdicts: Map<ProbeType, Verdict>;
  readonly workers: Map<ProbeType, ProbeWorker>;
}

export interface ProbeManagerOptions {
  readonly runtime: RuntimeService;
  readonly events: EventRecorder;
  /** A verdict is another one than before. */
  readonly onChange: (podUid: string, type: ProbeType) => void;
}

/** What probing a Pod needs to know of it. */
export interface ProbedPod {
  readonly pod: Pod;
  readonly runtime: PodRuntimeStatus;
  readonly podIP: string;
  /** A Pod that ends is not restarted any more: only its readiness still counts. */
  readonly isTerminating?: boolean;
}

export class ProbeManager {
  readonly #options: ProbeManagerOptions;
  readonly #probed = new Map<string, Probed>();

  constructor(options: ProbeManagerOptions) {
    this.#options = options;
  }

  /** Begins what is missing, ends what has no container any more. */
  sync(input: ProbedPod): void {
    const { pod, runtime, isTerminating = false } = input;
    const specs = lastingContainers(pod.spec).filter(hasProbes);
    if (specs.length === 0) return;
    const running = runtime.containers.filter(({ state }) => state === 'running');
    this.#endOthers(pod.metadata.uid, new Set(running.map(({ id }) => id)));
    for (const spec of specs) {
      const status = running.find(({ name }) => name === spec.name);
      if (status && !isTerminating && !this.#probed.has(status.id)) this.#begin(input, spec, status);
    }
    if (!isTerminating) return;
    for (const { podUid, workers } of this.#probed.values())
      if (podUid === pod.metadata.uid)
        for (const [type, worker] of workers) if (type !== 'readiness') worker.stop();
  }

  /** Ends all of a Pod's probes. */
  forget(podUid: string): void {
    this.#endOthers(podUid, new Set());
  }

  close(): void {
    for (const { workers } of this.#probed.values()) for (const worker of workers.values()) worker.stop();
    this.#probed.clear();
  }

  /** What the Pod's probes say; a container that no worker watches yet has shown nothing. */
  resultsOf(pod: Pod): ProbeResults {
    const specs = new Map(lastingContainers(pod.spec).map((spec) => [spec.name, spec]));
    const passed = (type: ProbeType, { id, name }: Pick<ContainerStatus, 'id' | 'name'>): boolean =>
      !probeOf(specs.get(name), type) || this.#verdict(id, type) === 'success';
    return {
      isStarted: (container) => passed('startup', container),
      isReady: (container) => passed('readiness', container),
      failedProbe: ({ id }) =>
        (['startup', 'liveness'] as const).find((type) => this.#verdict(id, type) === 'failure'),
    };
  }

  #verdict(containerId: string, type: ProbeType): Verdict | undefined {
    return this.#probed.get(containerId)?.verdicts.get(type);
  }

  #begin(input: ProbedPod, spec: Container, status: ContainerStatus): void {
    const { pod } = input;
    const known = knownVerdicts(pod, spec, status.id);
    const probed: Probed = {
      podUid: pod.metadata.uid,
      isAdopted: known !== undefined,
      verdicts: known ?? new Map(),
      workers: new Map(),
    };
    this.#probed.set(status.id, probed);
    for (const type of types) {
      const probe = probeOf(spec, type);
      const isOver = type === 'startup' && probed.verdicts.get('startup') === 'success';
      if (probe && !isOver)
        probed.workers.set(type, this.#newWorker({ ...input, spec, status, probed, type, probe }));
    }
  }

  #newWorker(
    input: ProbedPod & {
      spec: Container;
      status: ContainerStatus;
      probed: Probed;
      type: ProbeType;
      probe: Probe;
    },
  ): ProbeWorker {
    const { pod, podIP, spec, status, probed, type, probe } = input;
    const startedAt = Date.parse(status.startedAt ?? status.createdAt);
    const now = Date.now();
    const { isAdopted } = probed;
    const subject = { container: spec, containerId: status.id, podIP };
    const about = { pod, container: spec.name, type };
    const budget = new EventBudget();
    return new ProbeWorker({
      probe,
      firstDelayMs: firstDelayMs(probe, { startedAt, isAdopted }, now),
      run: () => runProbe(this.#options.runtime, probe, subject),
      mayRun: () => type === 'startup' || !spec.startupProbe || probed.verdicts.get('startup') === 'success',
      onResult: (result) => this.#tell(about, result, budget),
      onError: (error) => this.#tellError(about, error, budget),
      onVerdict: (verdict) => this.#decided(probed, type, verdict),
    });
  }

  #decided(probed: Probed, type: ProbeType, verdict: Verdict): void {
    const { verdicts, workers, podUid } = probed;
    // The container will be restarted, or has started: there is nothing more to ask.
    if (type === 'startup' || (type === 'liveness' && verdict === 'failure')) workers.get(type)?.stop();
    if (verdicts.get(type) === verdict) return;
    verdicts.set(type, verdict);
    if (type === 'startup' && verdict === 'success') for (const worker of workers.values()) worker.kick();
    this.#options.onChange(podUid, type);
  }

  #tell(about: About, { outcome, output }: ProbeResult, budget: EventBudget): void {
    if (outcome === 'success' || !budget.take()) return;
    const [reason, what] = outcome === 'warning' ? ['ProbeWarning', 'warning'] : ['Unhealthy', 'failed'];
    this.#record(about, reason, `${titles[about.type]} probe ${what}: ${output}`);
  }

  #tellError(about: About, error: unknown, budget: EventBudget): void {
    const { code = '' } = error as { code?: string };
    if (code === 'ContainerNotRunning' || code === 'ContainerNotFound') return; // it has just ended: told elsewhere
    if (budget.take())
      this.#record(about, 'Unhealthy', `${titles[about.type]} probe errored: ${messageOf(error)}`);
  }

  #record({ pod, container }: About, reason: string, message: string): void {
    this.#options.events.record(pod, { type: 'Warning', reason, message, container });
  }

  #endOthers(podUid: string, running: ReadonlySet<string>): void {
    for (const [id, probed] of this.#probed) {
      if (probed.podUid !== podUid || running.has(id)) continue;
      for (const worker of probed.workers.values()) worker.stop();
      this.#probed.delete(id);
    }
  }
}

interface About {
  readonly pod: Pod;
  readonly container: string;
  readonly type: ProbeType;
}

/** What an earlier daemon found out about this very container: a restart of the daemon makes nothing unready. */
function knownVerdicts({ status }: Pod, spec: Container, id: string): Map<ProbeType, Verdict> | undefined {
  const known = statusOfContainer(status, spec.name);
  if (!known?.state?.running || !known.containerID?.endsWith(`//${id}`)) return undefined;
  const verdicts = new Map<ProbeType, Verdict>();
  if (spec.startupProbe && known.started) verdicts.set('startup', 'success');
  if (spec.readinessProbe && known.ready) verdicts.set('readiness', 'success');
  return verdicts;
}

const burst = 25;
const refillMs = 300_000;

/** A probe that fails every second is told 25 times, then every five minutes, as by Kubernetes' recorder. */
class EventBudget {
  #left = burst;
  #refilledAt = Date.now();

  take(): boolean {
    const gained = Math.floor((Date.now() - this.#refilledAt) / refillMs);
    if (gained > 0) {
      this.#left = Math.min(burst, this.#left + gained);
      this.#refilledAt += gained * refillMs;
    }
    if (this.#left === 0) return false;
    this.#left -= 1;
    return true;
  }
}
