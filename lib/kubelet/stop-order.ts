// The order in which the containers of one Pod end: all at once, but for sidecars, which go last and in reverse.
// Assumes every container of the order tells its end, or is not part of it. Pure promises; O(containers).
// Source: kubelet's terminationOrdering.
import { placedContainers } from '../api/pod-containers.ts';
import type { PodSpec } from '../api/types.ts';

export class StopOrder {
  readonly #ends = new Map<string, { promise: Promise<void>; resolve: () => void }>();
  readonly #spec: PodSpec;

  /** `running`: names of the containers that are to be stopped now. */
  constructor(spec: PodSpec, running: readonly string[]) {
    this.#spec = spec;
    for (const name of running) this.#ends.set(name, Promise.withResolvers<void>());
  }

  /** Those whose end this one waits for: for a sidecar, all but init containers and the sidecars before it. */
  waitsFor(name: string): string[] {
    const placed = placedContainers(this.#spec);
    const at = placed.findIndex((one) => one.container.name === name);
    if (placed[at]?.kind !== 'sidecar') return [];
    const later = placed.slice(at + 1).filter(({ kind }) => kind !== 'init');
    return later.map(({ container }) => container.name).filter((other) => this.#ends.has(other));
  }

  /** Resolves when it may be asked to end. */
  async turnOf(name: string): Promise<void> {
    await Promise.all(this.waitsFor(name).map((other) => this.#ends.get(other)?.promise));
  }

  hasEnded(name: string): void {
    this.#ends.get(name)?.resolve();
  }
}
