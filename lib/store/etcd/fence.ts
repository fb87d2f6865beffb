// Makes sure that a write which nobody answered will not be applied later: every write of ours also compares this key.
// Assumes one key a process. Once the key has been written anew, a delayed write that carries its old revision is refused by
// etcd itself. Costs a compare a write, and a write of its own when a member fails (and once an hour: it has a lease).
import { randomUUID } from 'node:crypto';
import type { Connection } from './connection.ts';
import { encodeKey, reserved } from './decode.ts';
import type { Leases } from './leases.ts';

const ttlSeconds = 3600;

export class Fence {
  readonly key: Buffer;
  readonly #connection: Connection;
  readonly #leases: Leases;
  #revision: Promise<number> | undefined;

  constructor(connection: Connection, leases: Leases, prefix: string) {
    this.#connection = connection;
    this.#leases = leases;
    this.key = encodeKey(prefix, `${reserved}fences/${randomUUID()}`);
  }

  /** The revision that writes carry now. @throws CallError */
  revision(): Promise<number> {
    this.#revision ??= this.#write();
    return this.#revision;
  }

  /** From the revision given back on, nothing that carries `old` can be applied. @throws CallError */
  async renew(old: number): Promise<number> {
    const current = await this.revision();
    if (current > old) return current; // somebody else's write was unanswered, too
    this.#revision = this.#write();
    return this.#revision;
  }

  /** A write was refused as the key is at another revision than it carried; 0: its lease has run out. */
  async moved(from: number, to: number): Promise<void> {
    if ((await this.revision()) !== from) return;
    this.#revision = to === 0 ? this.#write() : Promise.resolve(to);
    await this.#revision;
  }

  #write(): Promise<number> {
    const written = this.#leases
      .forSeconds(ttlSeconds)
      .then((lease) => this.#connection.call('Put', { key: this.key, value: Buffer.alloc(0), lease }))
      .then(({ header }) => Number(header.revision));
    written.catch(() => {
      this.#leases.forget(ttlSeconds); // be it that it has run out
      if (this.#revision === written) this.#revision = undefined;
    });
    return written;
  }
}
