// Leases for keys that end by themselves. Keys written within a short time share one, as Kubernetes' apiserver does it.
// Assumes a key may live up to a twentieth (at most a minute) longer than asked. A grant serves up to 1,000 keys.
import type { Connection } from './connection.ts';

const maxKeys = 1000;

interface Lease {
  readonly id: string;
  /** By this process's monotonic clock, in ms. */
  readonly useUntil: number;
  keys: number;
}

export class Leases {
  readonly #connection: Connection;
  /** By the seconds asked for. */
  readonly #open = new Map<number, Promise<Lease>>();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** The id of a lease that lasts at least that long from now. @throws CallError */
  async forSeconds(seconds: number): Promise<string> {
    const open = await this.#open.get(seconds);
    if (open && performance.now() < open.useUntil && open.keys < maxKeys) {
      open.keys++;
      return open.id;
    }
    // Who came first while we waited has asked already.
    if (open === undefined || (await this.#open.get(seconds)) === open) this.#grant(seconds);
    const lease = await this.#open.get(seconds)!;
    lease.keys++;
    return lease.id;
  }

  /** It has run out earlier than thought. */
  forget(seconds: number): void {
    this.#open.delete(seconds);
  }

  #grant(seconds: number): void {
    const shareSeconds = Math.min(60, Math.max(1, Math.floor(seconds / 20)));
    const asked = performance.now();
    const grant = this.#connection
      .call('LeaseGrant', { TTL: Math.ceil(seconds) + shareSeconds })
      .then(({ ID }) => ({ id: ID, useUntil: asked + shareSeconds * 1000, keys: 0 }));
    this.#open.set(seconds, grant);
    grant.catch(() => {
      if (this.#open.get(seconds) === grant) this.#open.delete(seconds);
    });
  }
}
