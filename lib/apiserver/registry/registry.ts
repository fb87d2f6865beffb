// The API itself, in process: what a request makes of an object (drafts.ts) is committed; lists, watches, graceful delete.
// Assumes all that write the store's /registry/ keys are registries, in one process or (over etcd) in several: what was
// decided on an old state is refused by the store and decided again. Objects it returns are frozen and shared: never changed.
// A write is O(fields) and one store write; a watch costs O(its changes).
import type { Admit } from '../../api/admission.ts';
import type {
  Client,
  DeleteOptions,
  ListOptions,
  ObjectKey,
  PatchOptions,
  WatchEvent,
  WatchOptions,
} from '../../api/client.ts';
import { ApiError, isReason } from '../../api/errors.ts';
import { applyPatch } from '../../api/patch.ts';
import { resources } from '../../api/resources.ts';
import { parseSelectors } from '../../api/selectors.ts';
import type { ApiObject, Binding, Kinds, Pod, Resource } from '../../api/types.ts';
import { isStoreError, type Store, type StoreEntry, type WriteOptions } from '../../store/store.ts';
import { conflictError, existsError, forbiddenError } from '../api-errors.ts';
import { type Body, checkPreconditions, keyIn, readBody } from './bodies.ts';
import { decideDeletion } from './deletion.ts';
import { type CreateHow, draftOf, type How, nextOf, withStatus } from './drafts.ts';
import { keyOf } from './keys.ts';
import {
  emptyNamespace,
  finishNamespace,
  markNamespaceDeleted,
  systemNamespaces,
  unlessGone,
} from './namespaces.ts';
import { ObjectTable, relaxed } from './object-table.ts';
import { timestamp } from '../../api/time.ts';
import { generateName } from './objects.ts';
import type { WatchStream } from './watch-stream.ts';
import { Watches } from './watches.ts';

export interface RegistryOptions {
  store: Store;
  /** Whether a kubelet looks after the Pods of a node of that name ('' for none); any name unless told. */
  isServed?: (nodeName: string) => boolean | Promise<boolean>;
  admit?: readonly Admit[];
  /** Milliseconds since the epoch. */
  now?: () => number;
  /** How long an event is kept; 3600 unless told. */
  eventTtlSeconds?: number;
  /** History older than this is forgotten, watches from before get Expired. 300 000 unless told. */
  compactionMs?: number;
  /** Failures of the housekeeping, which nobody waits for. */
  onError?: (error: unknown) => void;
}

const bookmarkMs = 60_000;
const nameAttempts = 8;

export class Registry implements Client {
  readonly #table: ObjectTable;
  readonly #options: Required<RegistryOptions>;
  readonly #watches: Watches;
  readonly #timers: NodeJS.Timeout[] = [];
  #compactNext = 0;

  constructor(options: RegistryOptions) {
    this.#options = {
      ...{
        admit: [],
        isServed: (node: string) => node !== '',
        now: Date.now,
        eventTtlSeconds: 3600,
        compactionMs: 300_000,
        onError: () => {},
      },
      ...options,
    };
    this.#table = new ObjectTable(options.store, this.#options.eventTtlSeconds);
    this.#watches = new Watches(this.#table);
  }

  /** Makes the namespaces that are always there, ends deletions that were cut off, and starts the housekeeping. */
  async start(): Promise<void> {
    for (const name of systemNamespaces) {
      if (!(await this.#table.store.get(keyOf('namespaces', { name }))))
        await unlessThere(() => this.create('namespaces', { metadata: { name } }));
    }
    await this.#table.followDeletions(this.#options.onError);
    for (const { metadata } of (await this.list('namespaces')).items)
      if (metadata.deletionTimestamp) await emptyNamespace(this.#table, metadata.name, this.#deletePod);
    this.#compactNext = await this.#table.store.revision();
    this.#every(this.#options.compactionMs, () => this.#compact());
    this.#every(bookmarkMs, () => this.#watches.bookmarks());
  }

  /** Ends all watches; the store stays open, for who opened it closes it. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#watches.close();
    this.#table.close();
  }

  async get<R extends Resource>(resource: R, key: ObjectKey): Promise<Kinds[R]> {
    return this.#table.decode(await this.#table.entry(resource, key)) as Kinds[R];
  }

  async list<R extends Resource>(
    resource: R,
    options: ListOptions = {},
  ): Promise<{ items: Kinds[R][]; resourceVersion: string }> {
    const matches = parseSelectors(resource, options);
    const { items, revision } = await this.#table.list(resource, options.namespace);
    return {
      items: matches ? items.filter((one) => matches(one)) : items,
      resourceVersion: String(revision),
    };
  }

  async *watch<R extends Resource>(resource: R, options: WatchOptions): AsyncGenerator<WatchEvent<Kinds[R]>> {
    yield* (await this.openWatch(resource, options)) as AsyncIterable<WatchEvent<Kinds[R]>>;
  }

  /** As watch, but the watch stands when this resolves, and what is wrong with the request rejects here. */
  openWatch(resource: Resource, options: WatchOptions): Promise<WatchStream> {
    return this.#watches.open(resource, options);
  }

  async create<R extends Resource>(resource: R, object: unknown, options: CreateHow = {}): Promise<Kinds[R]> {
    const { draft, base } = await draftOf(resource, object, options, this.#options);
    let whileAt = await this.#checkNamespace(resource, draft);
    if (options.dryRun) {
      if (await this.#table.store.get(keyOf(resource, draft.metadata)))
        throw existsError(resource, draft.metadata.name);
      return draft as Kinds[R];
    }
    for (let attempt = 1; ; attempt++) {
      try {
        const placed = whileAt ? { options: { whileAt } } : {};
        return (await this.#table.put(resource, draft, placed)) as Kinds[R];
      } catch (error) {
        if (isStoreError(error, 'STORE_MOVED')) {
          whileAt = await this.#checkNamespace(resource, draft);
          continue;
        }
        if (!isStoreError(error, 'STORE_CONFLICT')) throw error;
        if (!base || attempt === nameAttempts) throw existsError(resource, draft.metadata.name);
        draft.metadata.name = generateName(base);
      }
    }
  }

  async update<R extends Resource>(resource: R, object: Kinds[R], how: How = {}): Promise<Kinds[R]> {
    let first: Body | undefined = readBody(resource, object, how.onUnknown);
    const key = keyIn(resource, first.object);
    const read = (): Body => {
      const body = first ?? readBody(resource, object, how.onUnknown);
      first = undefined; // it is changed on the way; another attempt needs its own copy
      return body;
    };
    return this.#change(resource, key, read, how);
  }

  async updateStatus<R extends Resource>(resource: R, object: Kinds[R], how: How = {}): Promise<Kinds[R]> {
    return this.#changeStatus(resource, keyIn(resource, object), () => object, how);
  }

  async patch<R extends Resource>(
    resource: R,
    key: ObjectKey,
    patch: object,
    options: PatchOptions & How = {},
  ): Promise<Kinds[R]> {
    const apply = (current: ApiObject): ApiObject => {
      const patched = applyPatch(current, patch, options.type ?? 'merge') as ApiObject;
      return patched.metadata ? patched : { ...patched, metadata: {} as ApiObject['metadata'] };
    };
    if (options.subresource === 'status') return this.#changeStatus(resource, key, apply, options);
    const read = (current: ApiObject): Body => readBody(resource, apply(current), options.onUnknown);
    return this.#change(resource, key, read, options);
  }

  async delete<R extends Resource>(
    resource: R,
    key: ObjectKey,
    options: DeleteOptions = {},
  ): Promise<Kinds[R]> {
    if (resource !== 'namespaces') return (await this.#deleteObject(resource, key, options)) as Kinds[R];
    const namespace = await markNamespaceDeleted(this.#table, key.name, {
      ...options,
      now: this.#options.now(),
    });
    await emptyNamespace(this.#table, key.name, this.#deletePod);
    return namespace as Kinds[R];
  }

  /** Deletes what a list would show; gives what was there. */
  async deleteCollection<R extends Resource>(
    resource: R,
    list: ListOptions,
    options: DeleteOptions = {},
  ): Promise<Kinds[R][]> {
    const { items } = await this.list(resource, list);
    for (const { metadata } of items) await unlessGone(() => this.delete(resource, metadata, options));
    return items;
  }

  /** What a scheduler says: this Pod runs on that node. Conflict when it has been said already. */
  async bind(key: ObjectKey, binding: Binding): Promise<void> {
    const nodeName = binding?.target?.name;
    if (typeof nodeName !== 'string' || nodeName === '')
      throw new ApiError('Invalid', 'Binding is invalid: target.name: Required value');
    await this.#table.retry('pods', key, async (old) => {
      const pod = this.#table.decode(old) as Pod;
      checkPreconditions('pods', pod, { uid: binding.metadata?.uid }); // another one of that name was not looked at
      if (pod.metadata.deletionTimestamp)
        throw conflictError(
          'pods',
          key.name,
          `pod ${key.name} is being deleted, cannot be assigned to a host`,
        );
      if (pod.spec.nodeName)
        throw conflictError(
          'pods',
          key.name,
          `pod ${key.name} is already assigned to node ${JSON.stringify(pod.spec.nodeName)}`,
        );
      const scheduled = {
        type: 'PodScheduled',
        status: 'True',
        lastTransitionTime: timestamp(this.#options.now()),
      };
      const conditions = [
        ...(pod.status?.conditions ?? []).filter(({ type }) => type !== 'PodScheduled'),
        scheduled,
      ];
      const bound: Pod = { ...pod, spec: { ...pod.spec, nodeName }, status: { ...pod.status, conditions } };
      return this.#table.put('pods', bound, { old });
    });
  }

  /** Gives what the creation hangs on: its namespace as it is now, unless it may be created in one that goes. */
  async #checkNamespace(resource: Resource, draft: ApiObject): Promise<WriteOptions['whileAt']> {
    const name = draft.metadata.namespace;
    if (!resources[resource].namespaced || name === undefined) return undefined;
    const namespace = await this.get('namespaces', { name });
    if (resource === 'events') return undefined;
    if (namespace.metadata.deletionTimestamp)
      throw forbiddenError(
        resource,
        draft.metadata.name,
        `unable to create new content in namespace ${name} because it is being terminated`,
      );
    return { key: keyOf('namespaces', { name }), revision: Number(namespace.metadata.resourceVersion) };
  }

  async #change<R extends Resource>(
    resource: R,
    key: ObjectKey,
    read: (current: ApiObject) => Body,
    how: How = {},
  ): Promise<Kinds[R]> {
    return (await this.#table.retry(resource, key, async (entry) => {
      const old = this.#table.decode(entry);
      const next = await nextOf(resource, { old, body: read(old) }, how, this.#options);
      if (how.dryRun)
        return { ...next, metadata: { ...next.metadata, resourceVersion: old.metadata.resourceVersion } };
      const { deletionTimestamp, deletionGracePeriodSeconds, finalizers } = old.metadata;
      const wasHeld =
        deletionTimestamp !== undefined && deletionGracePeriodSeconds === 0 && finalizers?.length;
      if (wasHeld && !next.metadata.finalizers?.length) return this.#removeObject(resource, entry);
      return this.#table.put(resource, next, { old: entry });
    })) as Kinds[R];
  }

  async #changeStatus<R extends Resource>(
    resource: R,
    key: ObjectKey,
    make: (current: ApiObject) => ApiObject,
    { dryRun, onUnknown }: How,
  ): Promise<Kinds[R]> {
    return (await this.#table.retry(resource, key, async (entry) => {
      const old = this.#table.decode(entry);
      const next = withStatus(resource, { old, body: make(old) }, onUnknown);
      return dryRun ? next : this.#table.put(resource, next, { old: entry, options: relaxed });
    })) as Kinds[R];
  }

  async #deleteObject(resource: Resource, key: ObjectKey, options: DeleteOptions): Promise<ApiObject> {
    return this.#table.retry(resource, key, async (entry) => {
      const object = this.#table.decode(entry);
      checkPreconditions(resource, object, options.preconditions ?? {});
      const decided = decideDeletion(resource, object, {
        requested: options.gracePeriodSeconds,
        now: this.#options.now(),
        served: resource === 'pods' && (await this.#options.isServed((object as Pod).spec.nodeName ?? '')),
      });
      if (decided.action === 'nothing') return object;
      if (decided.action === 'remove') return this.#removeObject(resource, entry);
      const { generation } = object.metadata;
      const metadata = {
        ...object.metadata,
        ...(generation === undefined ? {} : { generation: generation + 1 }),
        deletionTimestamp: timestamp(decided.deletionTimestamp),
        deletionGracePeriodSeconds: decided.graceSeconds,
      };
      return this.#table.put(resource, { ...object, metadata }, { old: entry });
    });
  }

  readonly #deletePod = (key: ObjectKey): Promise<unknown> => this.#deleteObject('pods', key, {});

  async #removeObject(resource: Resource, entry: StoreEntry): Promise<ApiObject> {
    const gone = await this.#table.remove(resource, entry);
    if (resource === 'pods') await finishNamespace(this.#table, gone.metadata.namespace!);
    return gone;
  }

  #every(ms: number, work: () => Promise<void>): void {
    this.#timers.push(setInterval(() => void work().catch(this.#options.onError), ms).unref());
  }

  /** Forgets what was history already at the last run: so every revision is kept for one interval at least. */
  async #compact(): Promise<void> {
    const upTo = this.#compactNext;
    this.#compactNext = await this.#table.store.revision();
    await this.#table.store.compact(upTo);
  }
}

/** Another server may have been quicker. */
async function unlessThere(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isReason(error, 'AlreadyExists')) throw error;
  }
}
