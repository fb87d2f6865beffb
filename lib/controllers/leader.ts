// Lets one of several processes do a work: the one that holds a Lease of kube-system. The others wait to take over.
// Assumes client-go's rules (tools/leaderelection): nobody's clock is compared with another's; a holder is given up when its
// Lease has not changed for its duration by our own clock, and a holder stops earlier than that. One write every 2 s.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import { microTime } from '../api/time.ts';
import type { Lease } from '../api/types.ts';

/** Injected by tests. */
export interface Clock {
  /** Milliseconds, monotonic; from anywhere. */
  now(): number;
  /** Milliseconds since 1970, for people to read in the Lease. */
  date(): number;
  /** Resolves after that time or when the signal aborts; never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface LeaderOptions {
  client: Client;
  /** The Lease's name in kube-system. */
  name: string;
  /** Who we are: unlike any other process, also the one that ran here before (host name and a random part). */
  identity: string;
  /** Ends it: the work is stopped and waited for, then the Lease is given back. */
  signal: AbortSignal;
  clock?: Clock;
  /** Told of calls that failed; they are tried again. */
  onError?: (error: unknown) => void;
}

/** How long the others wait for a silent holder. */
export const leaseDurationMs = 15_000;
/** How long a holder goes on without a renewal that succeeded. */
export const renewDeadlineMs = 10_000;
/** Between two tries, to renew or to take over (then up to 2.2 times as long, so that not all come at once). */
export const retryPeriodMs = 2000;
const acquireJitter = 1.2;
const namespace = 'kube-system';

const machineClock: Clock = {
  now: () => performance.now(),
  date: () => Date.now(),
  sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => {}),
};

/**
 * Calls `work` each time this process becomes the leader, with a signal that aborts when it no longer is (then `work` must end
 * soon: another may begin 5 s later). Returns when `signal` aborts or `work` has ended by itself; rejects as `work` did.
 */
export async function runAsLeader(
  options: LeaderOptions,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const election = new Election(options);
  while (await election.acquire()) if ((await election.lead(work)) === 'done') return;
}

type Term = 'done' | 'lost';

class Election {
  readonly #options: LeaderOptions;
  readonly #clock: Clock;
  /** The Lease as we wrote it last, while nobody else was seen to write it. */
  #own: Lease | undefined;
  /** Since when, by our clock, the Lease is as it is. */
  #seen = { record: '', since: 0 };
  /** When the last call that renewed it was begun. */
  #renewedAt = 0;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? machineClock;
  }

  /** Waits until we hold it; false when the signal came first. */
  async acquire(): Promise<boolean> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      if (await this.#tryWithin(renewDeadlineMs, signal)) return true;
      await this.#clock.sleep(retryPeriodMs * (1 + Math.random() * acquireJitter), signal);
    }
    return false;
  }

  /** One term: works and renews side by side; when either ends, so does the other. */
  async lead(work: (signal: AbortSignal) => Promise<void>): Promise<Term> {
    const term = new AbortController();
    const signal = AbortSignal.any([term.signal, this.#options.signal]);
    let failure: { readonly error: unknown } | undefined;
    const working = work(signal)
      .catch((error: unknown) => {
        if (!signal.aborted) failure = { error };
      })
      .then(() => {
        const ended = !signal.aborted;
        term.abort();
        return ended;
      });
    await this.#renewUntil(signal);
    const isLost = !signal.aborted;
    term.abort();
    const ended = await working;
    if (!isLost) await this.#release();
    if (failure) throw failure.error;
    return ended || this.#options.signal.aborted ? 'done' : 'lost';
  }

  /** Returns when the signal aborts, or when the Lease is no longer ours. */
  async #renewUntil(signal: AbortSignal): Promise<void> {
    const leftMs = (): number => this.#renewedAt + renewDeadlineMs - this.#clock.now();
    for (;;) {
      await this.#clock.sleep(Math.min(retryPeriodMs, leftMs()), signal);
      if (signal.aborted || leftMs() <= 0) return;
      const held = await this.#tryWithin(leftMs(), signal);
      if (!held && this.#isAnothers()) return;
    }
  }

  /** A call may hang longer than we may wait for it. */
  async #tryWithin(ms: number, signal: AbortSignal): Promise<boolean> {
    const answered = new AbortController();
    const held = await Promise.race([
      this.#tryToHold(),
      this.#clock.sleep(ms, AbortSignal.any([answered.signal, signal])).then(() => false),
    ]);
    answered.abort();
    return held;
  }

  /** One try to take or renew it. False: somebody else's, or nobody answers. */
  async #tryToHold(): Promise<boolean> {
    const began = this.#clock.now();
    try {
      const lease = this.#own ?? (await this.#read());
      if (lease !== this.#own) this.#observe(lease);
      if (lease && this.#isHeldByOther(lease)) return false;
      this.#own = await this.#write(lease);
      this.#observe(this.#own);
      this.#renewedAt = began;
      return true;
    } catch (error) {
      this.#own = undefined; // what we wrote last may not be what is there
      if (!isReason(error, 'Conflict') && !isReason(error, 'AlreadyExists')) this.#options.onError?.(error);
      return false;
    }
  }

  async #read(): Promise<Lease | undefined> {
    try {
      return await this.#options.client.get('leases', { namespace, name: this.#options.name });
    } catch (error) {
      if (isReason(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  #write(old: Lease | undefined): Promise<Lease> {
    const { client, name, identity } = this.#options;
    const renewTime = microTime(this.#clock.date());
    const stays = old?.spec?.holderIdentity === identity;
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: leaseDurationMs / 1000,
      acquireTime: (stays && old.spec?.acquireTime) || renewTime,
      renewTime,
      leaseTransitions: (old?.spec?.leaseTransitions ?? (old ? 0 : -1)) + (stays ? 0 : 1),
    };
    if (old) return client.update('leases', { ...old, spec });
    const lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name, namespace },
      spec,
    };
    return client.create('leases', lease, { namespace });
  }

  /** Others see at once that it is free; who ends does not wait long for it. */
  async #release(): Promise<void> {
    const own = this.#own;
    this.#own = undefined;
    if (!own) return;
    const spec = {
      ...own.spec,
      holderIdentity: '',
      leaseDurationSeconds: 1,
      renewTime: microTime(this.#clock.date()),
    };
    const given = new AbortController();
    await Promise.race([
      this.#options.client.update('leases', { ...own, spec }).catch(this.#options.onError),
      this.#clock.sleep(retryPeriodMs, given.signal),
    ]);
    given.abort();
  }

  #observe(lease: Lease | undefined): void {
    const record = JSON.stringify(lease?.spec ?? null);
    if (record !== this.#seen.record) this.#seen = { record, since: this.#clock.now() };
  }

  #isHeldByOther({ spec = {} }: Lease): boolean {
    if (!spec.holderIdentity || spec.holderIdentity === this.#options.identity) return false;
    const durationMs = (spec.leaseDurationSeconds ?? leaseDurationMs / 1000) * 1000;
    return this.#clock.now() < this.#seen.since + durationMs;
  }

  /** By what was read last. */
  #isAnothers(): boolean {
    const spec = JSON.parse(this.#seen.record) as Lease['spec'] | null;
    return spec?.holderIdentity !== this.#options.identity;
  }
}
