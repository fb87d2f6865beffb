// The loop beside node-ipam.ts: frees the subnets of removed Nodes, gives one to Nodes that were created while the range was
// full, and checks that each Node's subnets are its own in the record.
// Assumes one loop at a time, but is right with several: what it writes goes through the record's compare-and-set.
// O(1) record writes a Node that comes or goes; a sweep a minute is O(nodes).
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import type { EventRecorder } from '../api/events.ts';
import type { Informer } from '../api/informer.ts';
import { timestamp } from '../api/time.ts';
import type { Node } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { fullMessage, type NodeIpam, subnetSpec } from './node-ipam.ts';

export interface NodeIpamLoopInput {
  readonly client: Client;
  readonly ipam: NodeIpam;
  /** Started by who owns it, after this loop. */
  readonly nodes: Informer<'nodes'>;
  readonly events: EventRecorder;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Milliseconds of a clock that nobody sets. */
  readonly now?: () => number;
  readonly sweepMs?: number;
}

/** Longer than any request lives that could still be creating the Node of an entry. */
const orphanMs = 300_000;
const condition = 'NetworkUnavailable';
/** Kubernetes' reason, of the event and of the condition. */
const reason = 'CIDRNotAvailable';

export class NodeIpamLoop {
  readonly #input: NodeIpamLoopInput;
  readonly #now: () => number;
  /** Nodes that have none yet, by name; true: it has been told why. */
  readonly #waiting = new Map<string, boolean>();
  /** Entries of which no Node is seen, and since when. */
  readonly #orphans = new Map<string, number>();
  #work: Promise<unknown> = Promise.resolve();

  constructor(input: NodeIpamLoopInput) {
    this.#input = input;
    this.#now = input.now ?? (() => performance.now());
    input.nodes.onChange((node, before) => this.#handle(node, before));
    const timer = setInterval(() => this.sweep(), input.sweepMs ?? 60_000).unref();
    input.signal.addEventListener('abort', () => clearInterval(timer));
  }

  /** Resolves when what is known by now has been worked off. */
  async settled(): Promise<void> {
    await this.#work;
  }

  /** Frees entries whose Node never came, and tries again for those that wait. */
  sweep(): void {
    this.#enqueue('sweep', async () => {
      await this.#dropOrphans();
      await this.#serveWaiting();
    });
  }

  #handle(node: Node | undefined, before: Node | undefined): void {
    if (!node) {
      const gone = before as Node;
      this.#waiting.delete(gone.metadata.name);
      this.#enqueue(`subnets of removed node ${gone.metadata.name}`, async () => {
        await this.#input.ipam.release(gone.metadata);
        await this.#serveWaiting();
      });
      return;
    }
    const subnets = node.spec?.podCIDRs ?? [];
    if (subnets.length > 0 && before?.spec?.podCIDRs?.join() === subnets.join()) return;
    if (subnets.length === 0 && before) return; // it waits already
    this.#enqueue(`subnets of node ${node.metadata.name}`, () =>
      subnets.length > 0 ? this.#check(node, subnets) : this.#assign(node),
    );
  }

  /** Of a Node that an older podwire made, or whose record was lost, the entry is made now. */
  async #check(node: Node, subnets: readonly string[]): Promise<void> {
    this.#waiting.delete(node.metadata.name);
    try {
      await this.#input.ipam.occupy(node.metadata, subnets);
    } catch (error) {
      if (!isReason(error, 'Conflict')) throw error;
      this.#tell(node, error.message);
    }
  }

  async #assign(node: Node): Promise<void> {
    const { client, ipam, log } = this.#input;
    const { name, uid } = node.metadata;
    const isTold = this.#waiting.get(name) ?? false;
    this.#waiting.set(name, isTold);
    const subnets = await ipam.allocate(node.metadata);
    if ('full' in subnets) {
      if (!isTold) await this.#refuse(node, fullMessage(subnets));
      this.#waiting.set(name, true);
      return;
    }
    // With the uid, so that another Node of that name does not get what is this one's.
    await client.patch('nodes', { name }, { metadata: { uid }, spec: subnetSpec(subnets) });
    this.#waiting.delete(name);
    log.info({ node: name, subnets }, 'node got its subnets');
    const ours = node.status?.conditions?.find((one) => one.type === condition && one.reason === reason);
    if (ours)
      await client.patch(
        'nodes',
        { name },
        { status: { conditions: [{ type: condition, $patch: 'delete' }] } },
        { type: 'strategic', subresource: 'status' },
      );
  }

  async #refuse(node: Node, message: string): Promise<void> {
    this.#tell(node, message);
    const now = timestamp(Date.now());
    const times = { lastHeartbeatTime: now, lastTransitionTime: now };
    await this.#input.client.patch(
      'nodes',
      { name: node.metadata.name },
      { status: { conditions: [{ type: condition, status: 'True', reason, message, ...times }] } },
      { type: 'strategic', subresource: 'status' },
    );
  }

  #tell(node: Node, message: string): void {
    this.#input.log.warn({ node: node.metadata.name }, message);
    this.#input.events.record(node, { type: 'Warning', reason, message });
  }

  async #serveWaiting(): Promise<void> {
    for (const name of [...this.#waiting.keys()]) {
      const node = this.#input.nodes.get(name);
      if (node) await this.#assign(node);
    }
  }

  async #dropOrphans(): Promise<void> {
    const { ipam, nodes, log } = this.#input;
    const reservations = await ipam.reservations();
    for (const name of [...this.#orphans.keys()])
      if (!reservations.has(name) || nodes.get(name)) this.#orphans.delete(name);
    for (const [name, { uid, subnets }] of reservations) {
      if (nodes.get(name)) continue;
      const since = this.#orphans.get(name) ?? this.#now();
      this.#orphans.set(name, since);
      if (this.#now() - since < orphanMs) continue;
      await ipam.release({ name, uid });
      log.info({ node: name, subnets }, 'subnets of a node that is not there are free again');
    }
  }

  #enqueue(what: string, work: () => Promise<void>): void {
    const { signal, log } = this.#input;
    this.#work = this.#work
      .then(() => (signal.aborted ? undefined : work()))
      .catch((error) => {
        // The Node has gone or changed meanwhile: that change has its own turn. All else the next sweep tries again.
        if (!isReason(error, 'NotFound') && !isReason(error, 'Conflict'))
          log.error({ err: error }, `${what}: ${messageOf(error)}`);
      });
  }
}
