// The loop of a node's network: it waits for the node's own subnet, makes what Pods need on the machine (forwarding,
// masquerade, conflist), tells the other nodes what they need, and keeps the kernel's entries for them as they should be.
// Assumes one loop a node and root; several causes (a Node, a hand at the kernel) become one next step. A peer that changes
// costs a few netlink requests; a look at everything is linear in peers and done at start, on repair, and every two minutes.
// Invariants: steps run one at a time; what failed makes the next step a full one.
import { setTimeout as sleep } from 'node:timers/promises';
import { Informer } from '../api/informer.ts';
import type { Node } from '../api/types.ts';
import { type Cidr, formatCidr, parseCidr } from '../cni/address.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';
import { leastIpv6Mtu } from '../kernel/link.ts';
import { createBackend } from './backends.ts';
import { NodeGround } from './ground.ts';
import { judgeLine, startMonitor } from './monitor.ts';
import type { NodeNetworkOptions, NodeNetworkStatus, RunningNodeNetwork } from './network.ts';
import { PeerTable, peerOf, podCidrsOf } from './peers.ts';
import { type Surroundings, surroundingsOf } from './health/surroundings.ts';
import { PeerProgrammer } from './programmer.ts';
import { annotation, type Backend, type LocalNode, type Underlay } from './types.ts';
import { findUnderlay } from './underlay.ts';

export type { NodeNetworkOptions, NodeNetworkStatus, RunningNodeNetwork } from './network.ts';

/** Time in which several lines of `ip monitor` become one look. */
const settleMs = 50;
/** Somebody who undoes each repair (another network agent) must not have us busy with nothing else. */
const crowdedMs = 500;
const tableCheckMs = 1000;
const fullMs = 120_000;
const retryMs = { first: 250, longest: 10_000 };

/**
 * Starts the loop; returns when it has seen the Nodes once and done what followed, or knows what it waits for.
 * @throws PodwireError BACKEND_NOT_AVAILABLE where this machine cannot do what was asked for
 */
export async function startNodeNetwork(options: NodeNetworkOptions): Promise<RunningNodeNetwork> {
  const { exec, paths } = options;
  const backend = createBackend(options.backend, paths, exec ? { exec } : {});
  await backend.check();
  const loop = new NodeNetworkLoop(options, backend);
  await loop.start();
  return loop;
}

interface Todo {
  /** Underlay, table, conflist, annotations. */
  setup: boolean;
  /** Link, and all entries. */
  full: boolean;
  peers: Set<string>;
}

interface OwnNode {
  readonly podCidrs: readonly Cidr[];
  readonly addresses: readonly string[];
}

class NodeNetworkLoop implements RunningNodeNetwork {
  readonly #options: NodeNetworkOptions;
  readonly #backend: Backend;
  readonly #stop = new AbortController();
  readonly #nodes: Informer<'nodes'>;
  readonly #programmer: PeerProgrammer;
  readonly #ground: NodeGround;
  #own: OwnNode | undefined;
  #local: LocalNode | undefined;
  #table: PeerTable | undefined;
  #published: Readonly<Record<string, string>> = {};
  /** What the others must know, as it was found out last. */
  #toTell: Readonly<Record<string, string>> = {};
  #telling: NodeJS.Timeout | undefined;
  #todo: Todo = { setup: false, full: false, peers: new Set() };
  #running: Promise<void> | undefined;
  #followed: Promise<void> = Promise.resolve();
  #lastError: string | undefined;
  #wait = retryMs.first;
  #timers = new Set<NodeJS.Timeout>();
  #settling: NodeJS.Timeout | undefined;
  /** When a line of the monitor last led to a look. */
  #lookedAt = Number.NEGATIVE_INFINITY;
  #retry: NodeJS.Timeout | undefined;
  #stopMonitor: (() => void) | undefined;
  #markReady: () => void = () => {};
  #markSeen: () => void = () => {};
  readonly ready = new Promise<void>((resolve) => {
    this.#markReady = resolve;
  });
  readonly #seen = new Promise<void>((resolve) => {
    this.#markSeen = resolve;
  });

  constructor(options: NodeNetworkOptions, backend: Backend) {
    this.#options = options;
    this.#backend = backend;
    this.#programmer = new PeerProgrammer(backend, options.log);
    this.#ground = new NodeGround(options);
    const onError = (error: unknown) => this.#apiFailed(error);
    this.#nodes = new Informer({ client: options.client, resource: 'nodes', onError });
    this.#nodes.onChange((now, before) => this.#handleNode(now, before));
  }

  async start(): Promise<void> {
    this.#followed = this.#follow();
    this.#every(tableCheckMs, () => this.#ground.keep());
    this.#every(fullMs, async () => {
      if (this.#programmer.begun) this.#need({ full: true });
    });
    await this.#seen;
    await this.#running;
  }

  notReady(): string | undefined {
    if (this.#ground.stands) return undefined;
    if (this.#own) return this.#lastError ?? 'the network is being set up';
    return this.#lastError ?? `node "${this.#options.nodeName}" has no Pod subnet yet (spec.podCIDRs)`;
  }

  status(): NodeNetworkStatus {
    const problems = new Map([...(this.#table?.problems ?? []), ...this.#programmer.problems]);
    const state = this.#lastError ? 'Failed' : this.#ground.stands ? 'Ready' : 'WaitingForSubnet';
    return {
      backend: this.#backend.name,
      state,
      podCidrs: (this.#own?.podCidrs ?? []).map(formatCidr),
      mtu: this.#mtu(),
      underlay: this.#local?.underlay,
      link: this.#backend.link,
      peers: this.#programmer.peers,
      problems: Object.fromEntries(problems),
      lastError: this.#lastError,
    };
  }

  surroundings(): Surroundings | undefined {
    const [local, table] = [this.#local, this.#table];
    if (!this.#ground.stands || !local || !table) return undefined;
    const { problems } = this.status();
    const here = { local, mtu: this.#mtu(), carrier: this.#backend.carrier };
    return surroundingsOf(here, [...table.peers.values()], problems);
  }

  async resync(): Promise<void> {
    this.#need({ full: true });
    await this.#running;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#settling);
    clearTimeout(this.#retry);
    clearTimeout(this.#telling);
    for (const timer of this.#timers) clearInterval(timer);
    this.#stopMonitor?.();
    this.#markSeen();
    await this.#followed;
    await this.#running;
  }

  // What the Nodes say.

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    for (let wait = retryMs.first; !signal.aborted; wait = Math.min(wait * 2, retryMs.longest)) {
      try {
        await this.#nodes.start(signal);
        if (!this.#nodes.get(this.#options.nodeName))
          this.#lastError = `there is no Node "${this.#options.nodeName}" (yet)`;
        return this.#markSeen();
      } catch (error) {
        this.#apiFailed(error);
        this.#markSeen();
        await sleep(wait, undefined, { signal }).catch(() => {});
      }
    }
  }

  #apiFailed(error: unknown): void {
    this.#options.log?.warn(`the Nodes cannot be read: ${messageOf(error)}; trying again`);
    if (!this.#ground.stands) this.#lastError = `the API cannot be asked: ${messageOf(error)}`;
  }

  #handleNode(now: Node | undefined, before: Node | undefined): void {
    const name = (now ?? before)?.metadata.name ?? '';
    if (name !== this.#options.nodeName) {
      this.#needPeers((now ? this.#table?.put(now) : this.#table?.delete(name)) ?? []);
      return;
    }
    if (now && !this.#takeOwn(now)) this.#tellAgain();
    else if (now && this.#own) this.#judgeAnew(name, this.#own);
  }

  #judgeAnew(name: string, { podCidrs, addresses }: OwnNode): void {
    const own = { name, backend: this.#backend.announcement, podCidrs };
    this.#table = new PeerTable({ ...own, addresses: ownByFamily(addresses) });
    for (const node of this.#nodes.items) this.#table.put(node);
    this.#need({ setup: true, full: true });
  }

  /** True where the subnet or the address is another one than before: everybody is judged anew. */
  #takeOwn(node: Node): boolean {
    const { address } = this.#options;
    if (!this.#own) this.#lastError = undefined;
    this.#published = { ...node.metadata.annotations };
    const podCidrs = podCidrsOf(node).flatMap((text) => parseCidr(text) ?? []);
    const view = peerOf(node);
    const told = typeof address === 'string' ? [address] : address;
    const addresses = told ?? ('peer' in view ? Object.values(view.peer.addresses) : []);
    const former = this.#own;
    if (podCidrs.length === 0 || addresses.length === 0) return false;
    const same =
      former?.podCidrs.map(formatCidr).join() === podCidrs.map(formatCidr).join() &&
      former?.addresses.join() === addresses.join();
    if (!same) this.#own = { podCidrs, addresses };
    return !same;
  }

  // What is to be done, and doing it.

  #needPeers(names: readonly string[]): void {
    if (names.length === 0) return;
    for (const name of names) this.#todo.peers.add(name);
    this.#run();
  }

  #need(what: { setup?: boolean; full?: boolean }): void {
    this.#todo.setup ||= what.setup ?? false;
    this.#todo.full ||= what.full ?? false;
    this.#run();
  }

  #run(): void {
    if (this.#running || this.#stop.signal.aborted) return;
    this.#running = this.#steps().finally(() => {
      this.#running = undefined;
      // What came while the last step ended; what failed waits for its timer.
      if (hasWork(this.#todo) && !this.#retry) this.#run();
    });
  }

  async #steps(): Promise<void> {
    // A turn of the event loop later: what comes in one go is done in one go.
    await new Promise((resolve) => setImmediate(resolve));
    while (hasWork(this.#todo) && !this.#stop.signal.aborted) {
      const todo = this.#todo;
      this.#todo = { setup: false, full: false, peers: new Set() };
      if (!this.#own || !this.#table) return;
      try {
        await this.#step(todo);
        this.#lastError = undefined;
        this.#wait = retryMs.first;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        return this.#tryLater(error);
      }
    }
  }

  #tryLater(error: unknown): void {
    const message = messageOf(error);
    if (message !== this.#lastError) this.#options.log?.warn(`node network: ${message}; trying again`);
    this.#lastError = message;
    this.#todo = { ...this.#todo, setup: true, full: true };
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#run();
    }, this.#wait);
    this.#wait = Math.min(this.#wait * 2, retryMs.longest);
  }

  async #step(todo: Todo): Promise<void> {
    const changed = (todo.setup || todo.full) && (await this.#standOn(todo.setup));
    const [local, table] = [this.#local as LocalNode, this.#table as PeerTable];
    await this.#ground.know(table.peers, todo.full ? undefined : todo.peers);
    if (todo.full) await this.#programmer.all(local, table);
    else await this.#programmer.some(local, table, todo.peers);
    if (this.#programmer.begun) await this.#watchKernel();
    this.#markReady();
    if (changed) await this.#publish();
  }

  /** What all Pods of this node stand on; true where it is another than before. */
  async #standOn(setup: boolean): Promise<boolean> {
    const { nodeName, exec, log } = this.#options;
    const own = this.#own as OwnNode;
    const underlay = await findUnderlay(own.addresses, exec ? { exec } : {});
    const former = this.#local;
    this.#local = { name: nodeName, podCidrs: own.podCidrs, underlay };
    if (!setup && former && sameUnderlay(former.underlay, underlay)) return false;
    // What stands goes on with the family that still works.
    if (!this.#ground.stands) refuseSmallMtu(this.#mtu(), own.podCidrs, underlay);
    if (former) log?.info(`the node's network stands on ${underlay.device}, MTU ${underlay.mtu ?? 'any'}`);
    await this.#ground.make(own.podCidrs, this.#mtu(), this.#backend.name);
    return true;
  }

  #mtu(): number | undefined {
    const underlay = this.#local?.underlay;
    return underlay?.mtu === undefined ? undefined : underlay.mtu - this.#backend.overhead(underlay.family);
  }

  /** Tells the others, where the Node does not say it yet. */
  async #publish(): Promise<void> {
    const { client, nodeName } = this.#options;
    const wanted = {
      [annotation.backend]: this.#backend.announcement,
      [annotation.addresses]: Object.values(this.#local?.underlay.addresses ?? {}).join(),
      ...(await this.#backend.annotations()),
    };
    this.#toTell = wanted;
    if (!this.#tellsLess()) return;
    await client.patch('nodes', { name: nodeName }, { metadata: { annotations: wanted } });
  }

  #tellsLess(): boolean {
    return Object.entries(this.#toTell).some(([key, value]) => this.#published[key] !== value);
  }

  /** A Node that was deleted and made anew, or that a hand changed; not at once, for whoever does so may do it again. */
  #tellAgain(): void {
    if (this.#telling || !this.#tellsLess()) return;
    this.#telling = setTimeout(() => {
      this.#telling = undefined;
      if (this.#tellsLess()) this.#need({ setup: true });
    }, crowdedMs);
  }

  // What others do to the kernel.

  async #watchKernel(): Promise<void> {
    if (this.#stopMonitor || this.#stop.signal.aborted) return;
    this.#stopMonitor = await startMonitor({
      onLine: (line) => this.#heard(line),
      onGap: (why) => this.#lostTrack(why),
    });
    if (this.#stop.signal.aborted) this.#stopMonitor();
  }

  #heard(line: string): void {
    const underlay = this.#local?.underlay.device;
    if (underlay === undefined) return;
    const verdict = judgeLine(line, { link: this.#backend.link, underlay, wanted: this.#programmer.wanted });
    if (verdict !== undefined) this.#lookSoon();
  }

  #lookSoon(): void {
    const crowded = performance.now() - this.#lookedAt < crowdedMs;
    this.#settling ??= setTimeout(
      () => {
        this.#settling = undefined;
        this.#lookedAt = performance.now();
        this.#need({ full: true });
      },
      crowded ? crowdedMs : settleMs,
    );
  }

  #lostTrack(why: string): void {
    this.#options.log?.warn(`node network: ${why}; looking at everything`);
    this.#stopMonitor?.();
    this.#stopMonitor = undefined;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#need({ full: true });
    }, 1000);
    this.#timers.add(timer);
  }

  #every(ms: number, work: () => Promise<void>): void {
    const timer = setInterval(() => {
      work().catch((error) => this.#options.log?.warn(`node network: ${messageOf(error)}`));
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }
}

const hasWork = ({ setup, full, peers }: Todo): boolean => setup || full || peers.size > 0;

const ownByFamily = (addresses: readonly string[]) =>
  Object.fromEntries(addresses.map((address) => [address.includes(':') ? 6 : 4, address]));

/** @throws PodwireError MTU_TOO_SMALL */
function refuseSmallMtu(mtu: number | undefined, podCidrs: readonly Cidr[], underlay: Underlay): void {
  if (mtu === undefined || mtu >= leastIpv6Mtu || !podCidrs.some(({ ip }) => ip.family === 6)) return;
  const missing = leastIpv6Mtu - mtu;
  throw new PodwireError(
    'MTU_TOO_SMALL',
    `${underlay.device} has an MTU of ${underlay.mtu}, which leaves Pods ${mtu}, and IPv6 needs ${leastIpv6Mtu}: give it ${missing} more (ip link set), or the cluster IPv4 alone (--cluster-cidr)`,
  );
}

const sameUnderlay = (a: Underlay, b: Underlay): boolean =>
  JSON.stringify(shown(a)) === JSON.stringify(shown(b));
const shown = (underlay: Underlay) => ({ ...underlay, nets: underlay.nets.map(formatCidr) });
