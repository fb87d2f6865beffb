// The ConfigMaps and Secrets that Pods of this node speak of, watched one by one: a node reads no others (and an
// agent may read no others). Assumes that a watch begins with what there is. One watch an object, however many
// Pods use it; it ends with the last of them.
import { setTimeout as after } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Client, initialEventsEnd, type WatchEvent } from '../api/client.ts';
import { type DataResource, referencesOf } from '../api/pod-references.ts';
import type { ConfigMap, Pod, Secret } from '../api/types.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';

type DataObject = ConfigMap | Secret;

/** What the kubelet asks for ConfigMaps and Secrets. */
export interface DataSource {
  /** Undefined: there is none. @throws PodwireError REFERENCE_TIMEOUT when the API cannot be asked */
  configMap(namespace: string, name: string): Promise<ConfigMap | undefined>;
  secret(namespace: string, name: string): Promise<Secret | undefined>;
}

interface Entry {
  readonly resource: DataResource;
  readonly namespace: string;
  readonly name: string;
  readonly pods: Set<string>;
  readonly stop: AbortController;
  /** Settles with the first answer of the API. */
  readonly synced: Promise<void>;
  readonly markSynced: () => void;
  isSynced: boolean;
  object?: DataObject | undefined;
  error?: unknown;
}

export interface ReferenceOptions {
  readonly client: Client;
  readonly log: Logger;
  /** An object that this Pod uses appeared, changed or went. */
  readonly onChange: (podUid: string) => void;
}

const answerMs = 10_000;
const retryMs = 1000;

export class ReferenceWatcher implements DataSource {
  readonly #options: ReferenceOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #ofPod = new Map<string, Set<string>>();

  constructor(options: ReferenceOptions) {
    this.#options = options;
  }

  /** Watches what the Pod speaks of, until forget(). Repeatable. */
  follow(pod: Pod): void {
    const { uid, namespace } = pod.metadata;
    const { configmaps, secrets } = referencesOf(pod); // an ephemeral container may name new ones
    if (configmaps.size + secrets.size === 0) return;
    if (!this.#ofPod.has(uid)) this.#ofPod.set(uid, new Set());
    for (const name of configmaps) this.#followOne(uid, 'configmaps', namespace, name);
    for (const name of secrets) this.#followOne(uid, 'secrets', namespace, name);
  }

  #followOne(uid: string, resource: DataResource, namespace: string, name: string): void {
    const key = keyOf(resource, namespace, name);
    const known = this.#entries.get(key);
    const entry = known ?? newEntry(resource, namespace, name);
    entry.pods.add(uid);
    this.#ofPod.get(uid)!.add(key);
    if (known) return;
    this.#entries.set(key, entry);
    void this.#watch(entry);
  }

  forget(podUid: string): void {
    for (const key of this.#ofPod.get(podUid) ?? []) {
      const entry = this.#entries.get(key);
      entry?.pods.delete(podUid);
      if (entry?.pods.size !== 0) continue;
      entry.stop.abort();
      this.#entries.delete(key);
    }
    this.#ofPod.delete(podUid);
  }

  async configMap(namespace: string, name: string): Promise<ConfigMap | undefined> {
    return (await this.#get('configmaps', namespace, name)) as ConfigMap | undefined;
  }

  async secret(namespace: string, name: string): Promise<Secret | undefined> {
    return (await this.#get('secrets', namespace, name)) as Secret | undefined;
  }

  close(): void {
    for (const entry of this.#entries.values()) entry.stop.abort();
    this.#entries.clear();
    this.#ofPod.clear();
  }

  async #get(resource: DataResource, namespace: string, name: string): Promise<DataObject | undefined> {
    const entry = this.#entries.get(keyOf(resource, namespace, name));
    if (!entry) throw new PodwireError('NOT_FOLLOWED', `${resource} ${namespace}/${name} is not watched`);
    if (!entry.isSynced) {
      const timer = new AbortController();
      await Promise.race([
        entry.synced,
        after(answerMs, undefined, { signal: timer.signal }).catch(() => {}),
      ]).finally(() => timer.abort());
    }
    if (entry.isSynced) return entry.object;
    const why = entry.error === undefined ? 'the API does not answer' : messageOf(entry.error);
    throw new PodwireError('REFERENCE_TIMEOUT', `${singular[resource]} "${name}" could not be read: ${why}`);
  }

  async #watch(entry: Entry): Promise<void> {
    const { client, log } = this.#options;
    const { resource, namespace, name, stop } = entry;
    const { signal } = stop;
    const fieldSelector = `metadata.name=${name}`;
    while (!signal.aborted) {
      const seen = { any: false };
      try {
        for await (const event of client.watch(resource, { namespace, fieldSelector, signal }))
          this.#take(entry, event, seen);
      } catch (error) {
        if (signal.aborted) return;
        entry.error = error;
        log.warn({ err: error }, `watch of ${resource} ${namespace}/${name} broke: ${messageOf(error)}`);
      }
      await after(retryMs, undefined, { signal }).catch(() => {});
    }
  }

  #take(entry: Entry, event: WatchEvent<DataObject>, seen: { any: boolean }): void {
    if (event.type === 'BOOKMARK') {
      if (event.object.metadata.annotations?.[initialEventsEnd] === undefined) return;
      if (!seen.any) this.#set(entry, undefined); // it went while no watch stood
      entry.isSynced = true;
      entry.markSynced();
      return;
    }
    seen.any = true;
    this.#set(entry, event.type === 'DELETED' ? undefined : event.object);
  }

  #set(entry: Entry, object: DataObject | undefined): void {
    if (entry.object?.metadata.resourceVersion === object?.metadata.resourceVersion) return;
    entry.object = object;
    if (entry.isSynced) for (const uid of entry.pods) this.#options.onChange(uid);
  }
}

const singular = { configmaps: 'configmap', secrets: 'secret' } as const;

const keyOf = (resource: DataResource, namespace: string, name: string): string =>
  `${resource}/${namespace}/${name}`;

function newEntry(resource: DataResource, namespace: string, name: string): Entry {
  const { promise, resolve } = Promise.withResolvers<void>();
  return {
    resource,
    namespace,
    name,
    pods: new Set(),
    stop: new AbortController(),
    synced: promise,
    markSynced: resolve,
    isSynced: false,
  };
}
