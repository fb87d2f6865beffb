// What the kernel was told of each peer, and the step from there to what it should be told now.
// Assumes steps one at a time. A changed peer costs what it has; `all` reads the kernel back and is linear in peers.
// Invariant: #planned is what was last handed to the backend; what the kernel refused is tried again by the next `all`.
import { linkIsHere } from '../kernel/link.ts';
import { joinEntries, noEntries, sameEntries } from './entries.ts';
import type { PeerTable } from './peers.ts';
import type {
  Backend,
  Change,
  LocalNode,
  NodeEntries,
  NodeNetworkLog,
  PeerProblem,
  Refusal,
} from './types.ts';

export class PeerProgrammer {
  readonly #backend: Backend;
  readonly #log: NodeNetworkLog | undefined;
  readonly #planned = new Map<string, NodeEntries>();
  readonly #problems = new Map<string, PeerProblem>();
  readonly #refused = new Map<string, Refusal>();
  #wanted: NodeEntries = joinEntries([]);
  /** The link is made with the first peer: a machine alone needs none. */
  #begun = false;

  constructor(backend: Backend, log: NodeNetworkLog | undefined) {
    this.#backend = backend;
    this.#log = log;
  }

  /** What the kernel should have. */
  get wanted(): NodeEntries {
    return this.#wanted;
  }

  /** True once there is something in the kernel to be kept. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Nodes that are programmed. */
  get peers(): readonly string[] {
    return [...this.#planned.keys()].sort();
  }

  get problems(): ReadonlyMap<string, PeerProblem> {
    const problems = new Map(this.#problems);
    for (const { key, message } of this.#refused.values())
      problems.set(this.#holderOf(key), { reason: 'KernelRefused', message });
    return problems;
  }

  /** Makes the link where there are peers, reads the kernel back, and changes what differs. */
  async all(local: LocalNode, table: PeerTable): Promise<void> {
    this.#planned.clear();
    this.#problems.clear();
    for (const name of table.peers.keys()) this.#plan(name, { local, table });
    this.#wanted = joinEntries(this.#planned.values());
    if (!this.#begun && this.#planned.size === 0 && !this.#mayHaveLeftovers()) return;
    for (const reason of await this.#backend.ensureLink(local))
      this.#log?.warn(`link ${this.#backend.link} set right: ${reason}`);
    const again = this.#begun;
    this.#begun = true;
    const seen = await this.#backend.read(local);
    this.#refused.clear();
    if (sameEntries(this.#wanted, seen)) return;
    if (again) this.#log?.warn("the kernel's entries for peers differed and are set right");
    this.#note(await this.#backend.apply(local, { wanted: this.#wanted, seen }));
  }

  /** Changes what these peers have. */
  async some(local: LocalNode, table: PeerTable, names: ReadonlySet<string>): Promise<void> {
    if (names.size === 0) return;
    if (!this.#begun) return this.all(local, table);
    const seen = this.#planOf(names);
    for (const name of names) this.#plan(name, { local, table });
    const wanted = this.#planOf(names);
    if (sameEntries(wanted, seen)) return;
    replace(this.#wanted, { seen, wanted });
    this.#note(await this.#backend.apply(local, { wanted, seen }));
  }

  #planOf(names: ReadonlySet<string>): NodeEntries {
    return joinEntries([...names].flatMap((name) => this.#planned.get(name) ?? []));
  }

  /** A lone machine may still have what it made when it had peers. */
  #mayHaveLeftovers(): boolean {
    const { link } = this.#backend;
    return link === undefined || linkIsHere(link);
  }

  #plan(name: string, { local, table }: { local: LocalNode; table: PeerTable }): void {
    const peer = table.peers.get(name);
    this.#planned.delete(name);
    this.#problems.delete(name);
    if (!peer) return;
    const { entries, problem } = this.#backend.plan(local, peer);
    if (problem) this.#problems.set(name, problem);
    if (!sameEntries(entries, noEntries)) this.#planned.set(name, entries);
  }

  #note(refusals: readonly Refusal[]): void {
    for (const refusal of refusals) {
      this.#refused.set(refusal.key, refusal);
      this.#log?.warn(`node network: ${refusal.message}`);
    }
  }

  #holderOf(key: string): string {
    for (const [name, { routes, neighbours, fdb }] of this.#planned)
      if (routes.has(key) || neighbours.has(key) || fdb.has(key)) return name;
    return key;
  }
}

/** In place: a copy of all entries for each change of one peer would be linear in peers. */
function replace(all: NodeEntries, { seen, wanted }: Change): void {
  for (const kind of ['routes', 'neighbours', 'fdb', 'tunnels'] as const) {
    const map = all[kind] as Map<string, string>;
    for (const key of seen[kind]?.keys() ?? []) map.delete(key);
    for (const [key, value] of wanted[kind] ?? []) map.set(key, value);
  }
}
