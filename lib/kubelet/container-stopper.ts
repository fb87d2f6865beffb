// Stops containers as their Pod's grace allows: preStop hook, its turn among the sidecars, TERM, and in the end KILL.
// Assumes one stop of a container at a time; a shorter grace may come while it goes on. One timer a stop.
// Source: kubelet's killContainer (the hook's time is part of the grace; what is left for TERM is never under 2 s).
import type { Pod } from '../api/types.ts';
import type { ContainerStatus, RuntimeService } from '../container/cri.ts';
import { allSettledOrThrow } from '../exec/errors.ts';
import type { EventRecorder } from '../api/events.ts';
import type { PodRuntimeStatus } from './pod-actions.ts';
import { StopOrder } from './stop-order.ts';

export interface StopRequest {
  readonly pod: Pod;
  readonly container: Pick<ContainerStatus, 'id' | 'name'>;
  /** Of the event that tells why. */
  readonly message: string;
  readonly graceSeconds: number;
  /** Absent: it waits for no other. */
  readonly order?: StopOrder;
}

/** Runs a container's preStop hook; resolves when it is over, whatever came of it. */
export type PreStop = (pod: Pod, container: StopRequest['container'], signal: AbortSignal) => Promise<void>;

/** What a container gets for TERM when its hook or its turn has used up the grace. */
const leastGraceSeconds = 2;

export class ContainerStopper {
  readonly #runtime: RuntimeService;
  readonly #events: EventRecorder;
  readonly #preStop: PreStop;
  /** Stops under way, by container id. */
  readonly #stops = new Map<string, { podUid: string; deadline: Deadline; asked: boolean }>();

  constructor(input: { runtime: RuntimeService; events: EventRecorder; preStop: PreStop }) {
    this.#runtime = input.runtime;
    this.#events = input.events;
    this.#preStop = input.preStop;
  }

  /** Stops all that runs, side by side, sidecars last. @throws when some could not be stopped */
  async stopAll(pod: Pod, runtime: PodRuntimeStatus, graceSeconds: number): Promise<void> {
    const running = runtime.containers.filter(({ state }) => state !== 'exited');
    const order = new StopOrder(
      pod.spec,
      running.map(({ name }) => name),
    );
    const stops = running.map((container) =>
      this.stop({ pod, container, message: `Stopping container ${container.name}`, graceSeconds, order }),
    );
    await allSettledOrThrow(`stopping ${pod.metadata.name}`, stops);
  }

  /** Resolves when it is dead. */
  async stop(request: StopRequest): Promise<void> {
    const { pod, container, message, graceSeconds, order } = request;
    const { id, name } = container;
    this.#events.record(pod, { type: 'Normal', reason: 'Killing', message, container: name });
    const deadline = new Deadline(graceSeconds);
    const stop = { podUid: pod.metadata.uid, deadline, asked: false };
    this.#stops.set(id, stop);
    try {
      if (graceSeconds > 0) {
        await this.#preStop(pod, container, deadline.signal);
        if (order) await deadline.orEarlier(order.turnOf(name));
      }
      stop.asked = true;
      await this.#runtime.stopContainer(id, deadline.secondsLeft(Math.min(graceSeconds, leastGraceSeconds)));
    } finally {
      deadline.clear();
      this.#stops.delete(id);
      order?.hasEnded(name);
    }
  }

  /** Containers of this Pod that are being stopped with more grace than this get no more than this from now on. */
  hurry(podUid: string, graceSeconds: number): void {
    for (const [id, { podUid: uid, deadline, asked }] of this.#stops) {
      if (uid !== podUid || !deadline.shorten(graceSeconds) || !asked) continue;
      // The stop under way reports what comes of it.
      this.#runtime.stopContainer(id, graceSeconds).catch(() => {});
    }
  }
}

/** A moment that may be moved nearer. */
class Deadline {
  readonly #over = new AbortController();
  #at: number;
  #timer: NodeJS.Timeout | undefined;
  #forced = false;

  constructor(seconds: number) {
    this.#at = Date.now() + seconds * 1000;
    this.#arm();
  }

  /** Aborted when it is reached. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** True when it was further away. 0: whatever comes next gets no time at all. */
  shorten(seconds: number): boolean {
    const at = Date.now() + seconds * 1000;
    if (at >= this.#at) return false;
    this.#at = at;
    this.#forced = seconds === 0;
    this.#arm();
    return true;
  }

  secondsLeft(least: number): number {
    return this.#forced ? 0 : Math.max(least, (this.#at - Date.now()) / 1000);
  }

  /** Resolves when the promise does, or at the deadline. */
  async orEarlier(promise: Promise<void>): Promise<void> {
    if (this.signal.aborted) return;
    const over = new Promise<void>((resolve) => {
      this.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await Promise.race([promise, over]);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    // Node's timers hold 24.8 days; who is told earlier than a longer grace ends has had time enough.
    const left = Math.min(this.#at - Date.now(), 2 ** 31 - 1);
    if (left <= 0) this.#over.abort();
    else this.#timer = setTimeout(() => this.#over.abort(), left);
  }
}
