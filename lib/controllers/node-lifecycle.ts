// Node lifecycle: a node that is silent for 40 s becomes Unknown; taints follow conditions; its Pods are no longer ready.
// Assumes one loop at a time and informers owned by others. What counts is the time since we saw a sign of life, by our own
// clock: nobody's clock is compared with another's, and after an absence of our own every node has its grace again.
// O(nodes) each 5 s in memory; a write only where something changes.
import { isReady } from '../api/conditions.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import type { EventRecorder } from '../api/events.ts';
import type { Informer } from '../api/informer.ts';
import { timestamp } from '../api/time.ts';
import type { Node, Pod } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { nodeLeaseNamespace } from '../kubelet/node-lease.ts';
import { lostReason } from '../kubelet/pod-conditions.ts';
import {
  conditionOf,
  evictingKey,
  evictionPauseMs,
  healthOf,
  isEvicting,
  silentConditions,
  taintsFor,
} from './node-health.ts';

export interface NodeLifecycleInput {
  readonly client: Client;
  readonly nodes: Informer<'nodes'>;
  readonly pods: Informer<'pods'>;
  /** Of kube-node-lease. */
  readonly leases: Informer<'leases'>;
  readonly events: EventRecorder;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** --node-monitor-grace-period: silence after which a node is lost. */
  readonly graceMs: number;
  /** Milliseconds of a clock that nobody sets. */
  readonly now?: () => number;
}

/** kube-controller-manager's --node-monitor-period and --node-startup-grace-period. */
const monitorMs = 5000;
const startupGraceMs = 60_000;

interface Sign {
  /** What the last sign of life said; another text is another sign. */
  text: string;
  /** When we saw it. */
  at: number;
}

export class NodeLifecycle {
  readonly #input: NodeLifecycleInput;
  readonly #now: () => number;
  readonly #signs = new Map<string, Sign>();
  /** Nodes whose Pods are to be marked not ready, until that is done. */
  readonly #unmarked = new Set<string>();
  /** When each lost node became so, by its own condition. */
  readonly #lostSince = new Map<string, string>();
  #lastTick: number;
  #wasAway = false;
  #lastEviction = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(input: NodeLifecycleInput) {
    const { nodes } = input;
    this.#input = input;
    this.#now = input.now ?? (() => performance.now());
    this.#lastTick = this.#now();
    nodes.onChange((node, before) => this.#handleNode(node, before));
  }

  /** Begins to judge; the informers must have listed by now. */
  start(): void {
    void this.tick();
    const period = Math.min(monitorMs, this.#input.graceMs / 4);
    const timer = setInterval(() => void this.tick(), period).unref();
    this.#input.signal.addEventListener('abort', () => clearInterval(timer));
  }

  /** Our own sight was gone for a while: what was silent meanwhile may have spoken. */
  wasAway(): void {
    this.#wasAway = true;
  }

  /** Judges every node once; one at a time, a call during one makes another. */
  async tick(): Promise<void> {
    if (this.#running) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#turns().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #turns(): Promise<void> {
    do {
      this.#again = false;
      await this.#judgeAll();
    } while (this.#again && !this.#input.signal.aborted);
  }

  #handleNode(node: Node | undefined, before: Node | undefined): void {
    if (!node) {
      const { name } = (before as Node).metadata;
      this.#signs.delete(name);
      this.#unmarked.delete(name);
      this.#lostSince.delete(name);
      this.#input.client.delete('leases', { namespace: nodeLeaseNamespace, name }).catch(() => {}); // it runs out
      return;
    }
    if (!before || shown(node) !== shown(before)) void this.tick();
  }

  async #judgeAll(): Promise<void> {
    const { nodes, graceMs, log, signal } = this.#input;
    const now = this.#now();
    // A process that was stopped, or a machine that slept, has seen nothing: nobody is to blame for it.
    const slept = now - this.#lastTick > graceMs / 2;
    if (slept || this.#wasAway) {
      log.info('controllers were away: every node has its grace again');
      for (const sign of this.#signs.values()) sign.at = now;
    }
    this.#lastTick = now;
    this.#wasAway = false;
    for (const node of [...nodes.items]) {
      if (signal.aborted) return;
      await this.#guarded(node, () => this.#checkLife(node, now));
    }
    const lost = [...nodes.items].filter((node) => healthOf(node) !== 'ready').length;
    const pause = evictionPauseMs(nodes.size, lost);
    for (const node of [...nodes.items]) {
      if (signal.aborted) return;
      await this.#guarded(node, () => this.#setTaints(node, pause));
      if (this.#unmarked.has(node.metadata.name)) await this.#guarded(node, () => this.#markPods(node));
    }
  }

  async #checkLife(node: Node, now: number): Promise<void> {
    const { name } = node.metadata;
    const lease = this.#input.leases.get(`${nodeLeaseNamespace}/${name}`);
    const ready = conditionOf(node, 'Ready');
    // The condition's own time counts while the kubelet writes it: ours on a lost node keeps the last one.
    const text = `${lease?.spec?.renewTime} ${ready?.lastHeartbeatTime}`;
    const sign = this.#signs.get(name);
    if (sign?.text !== text) this.#signs.set(name, { text, at: now });
    if (healthOf(node) !== 'ready') this.#noteLost(node);
    if (!sign || sign.text !== text || healthOf(node) === 'unreachable') return;
    if (now - sign.at <= (ready ? this.#input.graceMs : Math.max(startupGraceMs, this.#input.graceMs)))
      return;
    const conditions = silentConditions(node, timestamp(Date.now()));
    const { resourceVersion } = node.metadata;
    // A kubelet that writes just now has the last word.
    await this.#input.client.patch(
      'nodes',
      { name },
      { metadata: { resourceVersion }, status: { conditions } },
      { type: 'strategic', subresource: 'status' },
    );
    this.#input.log.warn({ node: name }, 'node is silent: its status is unknown');
    this.#input.events.record(node, {
      type: 'Normal',
      reason: 'NodeNotReady',
      message: `Node ${name} status is now: NodeNotReady`,
    });
    this.#unmarked.add(name);
  }

  /** A node that became not ready by its own word: its Pods are marked once, too. */
  #noteLost(node: Node): void {
    const { name } = node.metadata;
    const since = conditionOf(node, 'Ready')?.lastTransitionTime ?? '';
    if (this.#lostSince.get(name) === since) return;
    this.#lostSince.set(name, since);
    if (healthOf(node) !== 'never ready') this.#unmarked.add(name);
  }

  async #setTaints(node: Node, pause: number): Promise<void> {
    const { client, log } = this.#input;
    const { name, resourceVersion } = node.metadata;
    const isDue = isEvicting(node) || this.#now() - this.#lastEviction >= pause;
    const evict = pause !== Number.POSITIVE_INFINITY && evictingKey(node) !== undefined && isDue;
    const taints = taintsFor(node, { evict, time: timestamp(Date.now()) });
    if (!taints) return;
    await client.patch('nodes', { name }, { metadata: { resourceVersion }, spec: { taints } });
    if (evict && !isEvicting(node)) {
      this.#lastEviction = this.#now();
      log.warn({ node: name }, 'node is lost: its Pods are evicted after their toleration');
    }
  }

  /** Pods of a lost node serve nobody: their Ready condition says so until their kubelet speaks again. */
  async #markPods(node: Node): Promise<void> {
    const { name } = node.metadata;
    if (healthOf(node) !== 'ready')
      for (const pod of this.#input.pods.items)
        if (pod.spec.nodeName === name && isReady(pod)) await this.#markPod(pod);
    this.#unmarked.delete(name);
  }

  async #markPod(pod: Pod): Promise<void> {
    const { namespace, name, uid } = pod.metadata;
    const lastTransitionTime = timestamp(Date.now());
    try {
      await this.#input.client.patch(
        'pods',
        { namespace, name },
        {
          metadata: { uid },
          status: {
            conditions: [{ type: 'Ready', status: 'False', reason: lostReason, lastTransitionTime }],
          },
        },
        { type: 'strategic', subresource: 'status' },
      );
    } catch (error) {
      if (!isReason(error, 'NotFound') && !isReason(error, 'Conflict')) throw error;
    }
  }

  async #guarded(node: Node, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      // It changed or went meanwhile: the informer tells, and it is judged again.
      if (isReason(error, 'Conflict') || isReason(error, 'NotFound')) return;
      const { log, signal } = this.#input;
      log.warn({ err: error, node: node.metadata.name }, `node lifecycle: ${messageOf(error)}`);
      await sleep(100, undefined, { signal }).catch(() => {});
    }
  }
}

/** What taints follow; heartbeats do not matter here. */
const shown = ({ spec, status }: Node): string =>
  JSON.stringify([
    spec?.unschedulable,
    spec?.taints,
    status?.conditions?.map((one) => [one.type, one.status]),
  ]);
