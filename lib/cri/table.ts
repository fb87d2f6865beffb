// What a container runtime has of ours, kept in memory: listed anew every second (a runtime with container events tells
// changes at once, and is listed less often), and looked at one by one after each of our own calls.
// Assumes one writer of this node's Pods. A list is two calls; only what changed is asked for in full.
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerStatus, PodSandboxStatus, RuntimeEvent } from '../container/cri.ts';
import { messageOf } from '../exec/errors.ts';
import { CriError, type CriConnection } from './connection.ts';
import type { RemoteContainer, RemoteContainerStatus, RemoteSandbox } from './messages.ts';
import { ownerLabel } from './requests.ts';
import { ipsOf, toContainerStatus, toSandboxStatus } from './status.ts';

const relistMs = 1000;
/** 128 + SIGKILL. */
const killedCode = 137;
const oomEventMs = 100;
/** With events; kubelet's eventedPlegRelistPeriod is 300 s, but a list costs us little. */
const relistWithEventsMs = 10_000;

export interface TableOptions {
  readonly connection: CriConnection;
  /** Value of ownerLabel. */
  readonly owner: string;
  readonly onEvent: (event: RuntimeEvent) => void;
  /** The runtime does not answer, or (undefined) answers again. */
  readonly onTrouble: (why: string | undefined) => void;
}

export class CriTable {
  readonly #options: TableOptions;
  readonly #sandboxes = new Map<string, PodSandboxStatus>();
  readonly #containers = new Map<string, ContainerStatus>();
  /** Id → when it was last changed by us: a list that was under way then says nothing about it. */
  readonly #touched = new Map<string, number>();
  #time = 0;
  #timer: NodeJS.Timeout | undefined;
  #listing: Promise<void> | undefined;
  #trouble: string | undefined;
  #stopEvents: (() => void) | undefined;
  #hasEvents = false;
  #closed = false;

  constructor(options: TableOptions) {
    this.#options = options;
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  sandboxes(): PodSandboxStatus[] {
    return [...this.#sandboxes.values()];
  }

  containers(): ContainerStatus[] {
    return [...this.#containers.values()];
  }

  sandbox(id: string): PodSandboxStatus | undefined {
    return this.#sandboxes.get(id);
  }

  container(id: string): ContainerStatus | undefined {
    return this.#containers.get(id);
  }

  /** Reads all, and goes on looking. @throws CriError */
  async start(): Promise<void> {
    await this.#relist();
    this.#followEvents();
    this.#plan();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stopEvents?.();
  }

  setSandbox(status: PodSandboxStatus): void {
    this.#touch(status.id);
    this.#sandboxes.set(status.id, status);
  }

  dropSandbox(id: string): void {
    this.#touch(id);
    this.#sandboxes.delete(id);
    for (const container of this.containers())
      if (container.sandboxId === id) this.dropContainer(container.id);
  }

  dropContainer(id: string): void {
    this.#touch(id);
    this.#containers.delete(id);
  }

  /** Asks for one container, of a sandbox that is known or told. Gone: it is forgotten. @throws CriError */
  async look(
    id: string,
    sandboxId = this.#containers.get(id)?.sandboxId,
  ): Promise<ContainerStatus | undefined> {
    const begun = this.#time;
    try {
      const status = await this.#statusOf(id);
      if (!status || sandboxId === undefined) return undefined;
      // A later change of ours knows more than this answer.
      if ((this.#touched.get(id) ?? 0) > begun) return this.#containers.get(id);
      const found = toContainerStatus(status, sandboxId);
      this.#touch(id);
      this.#put(found);
      return found;
    } catch (error) {
      if (!isGone(error)) throw error;
      this.#forget(id);
      return undefined;
    }
  }

  /** containerd hears of the memory that ran out on another way than of the exit, and sometimes later. */
  async #statusOf(containerId: string): Promise<RemoteContainerStatus | null> {
    const { connection } = this.#options;
    const { status } = await connection.call('ContainerStatus', { containerId });
    const wasKilled = status?.state === 'CONTAINER_EXITED' && status.exitCode === killedCode;
    if (!wasKilled || status.reason === 'OOMKilled' || this.#containers.get(containerId)?.state === 'exited')
      return status;
    await sleep(oomEventMs);
    return (await connection.call('ContainerStatus', { containerId })).status;
  }

  #touch(id: string): void {
    this.#touched.set(id, ++this.#time);
  }

  #put(now: ContainerStatus): void {
    const before = this.#containers.get(now.id);
    this.#containers.set(now.id, now);
    if (now.state === 'exited' && before && before.state !== 'exited') this.#died(now);
  }

  #forget(id: string): void {
    const before = this.#containers.get(id);
    this.dropContainer(id);
    if (before) this.#died(before);
  }

  #died({ id, podUid }: ContainerStatus): void {
    this.#options.onEvent({ type: 'ContainerDied', podUid, id });
  }

  #plan(): void {
    if (this.#closed) return;
    const wait = this.#hasEvents && this.#trouble === undefined ? relistWithEventsMs : relistMs;
    this.#timer = setTimeout(() => {
      this.#relist()
        .catch((error: unknown) => this.#setTrouble(messageOf(error)))
        .finally(() => this.#plan());
    }, wait);
  }

  #setTrouble(why: string | undefined): void {
    if (this.#closed || why === this.#trouble) return;
    const wasDown = this.#trouble !== undefined;
    this.#trouble = why;
    this.#options.onTrouble(why);
    if (wasDown && why === undefined && !this.#hasEvents) this.#followEvents(); // it may be a newer one now
  }

  #followEvents(): void {
    if (this.#closed) return;
    this.#hasEvents = true;
    this.#stopEvents = this.#options.connection.containerEvents(
      (id) => {
        // Of sandboxes, too: those are only in the list.
        const looked = this.#containers.has(id) ? this.look(id) : this.#relist();
        looked.catch(() => {}); // the next list tells
      },
      () => {
        this.#hasEvents = false;
        clearTimeout(this.#timer);
        this.#plan();
      },
    );
  }

  #relist(): Promise<void> {
    this.#listing ??= this.#list().finally(() => {
      this.#listing = undefined;
    });
    return this.#listing;
  }

  async #list(): Promise<void> {
    const { connection, owner } = this.#options;
    const begun = this.#time;
    const filter = { labelSelector: { [ownerLabel]: owner } };
    const [{ items }, { containers }] = await Promise.all([
      connection.call('ListPodSandbox', { filter }),
      connection.call('ListContainers', { filter }),
    ]);
    const isNews = (id: string): boolean => (this.#touched.get(id) ?? 0) <= begun;
    await this.#takeSandboxes(items.filter(({ id }) => isNews(id)));
    await this.#takeContainers(containers.filter(({ id }) => isNews(id)));
    const there = new Set([...items, ...containers].map(({ id }) => id));
    for (const { id, uid } of this.sandboxes()) {
      if (there.has(id) || !isNews(id)) continue;
      this.dropSandbox(id);
      this.#options.onEvent({ type: 'SandboxChanged', podUid: uid, id });
    }
    for (const { id } of this.containers()) if (!there.has(id) && isNews(id)) this.#forget(id);
    for (const id of this.#touched.keys())
      if (isNews(id) && !this.#sandboxes.has(id) && !this.#containers.has(id)) this.#touched.delete(id);
    this.#setTrouble(undefined);
  }

  async #takeSandboxes(items: readonly RemoteSandbox[]): Promise<void> {
    for (const item of items) {
      const before = this.#sandboxes.get(item.id);
      const ips = before?.ips ?? (await this.#ipsOf(item.id));
      const now = toSandboxStatus(item, ips);
      this.#sandboxes.set(item.id, now);
      if (before?.state === 'ready' && now.state === 'notready')
        this.#options.onEvent({ type: 'SandboxChanged', podUid: now.uid, id: now.id });
    }
  }

  async #ipsOf(podSandboxId: string): Promise<string[]> {
    try {
      const { status } = await this.#options.connection.call('PodSandboxStatus', { podSandboxId });
      return ipsOf(status?.network ?? null);
    } catch (error) {
      if (isGone(error)) return []; // it went between the list and this
      throw error;
    }
  }

  async #takeContainers(found: readonly RemoteContainer[]): Promise<void> {
    const changed = found.filter(({ id, state }) => {
      const known = this.#containers.get(id)?.state;
      return known === undefined || known !== knownAs[state];
    });
    await Promise.all(changed.map(({ id, podSandboxId }) => this.look(id, podSandboxId)));
  }
}

/** There is no such sandbox, container or image. */
export const isGone = (error: unknown): boolean =>
  error instanceof CriError && error.code === 'RUNTIME_NOT_FOUND';

const knownAs = {
  CONTAINER_CREATED: 'created',
  CONTAINER_RUNNING: 'running',
  CONTAINER_EXITED: 'exited',
  CONTAINER_UNKNOWN: 'exited',
} as const;
