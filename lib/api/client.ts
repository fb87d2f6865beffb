// The client interface that every loop uses: in process (lib/apiserver's registry) or over HTTP (http/client.ts).
// Assumes Kubernetes' semantics: optimistic concurrency by resourceVersion, status as a subresource, graceful delete.
// A watch is O(changes); a list is O(objects of that resource).
import type { Kinds, Resource } from './types.ts';

export interface ObjectKey {
  /** Absent for cluster-scoped resources. */
  namespace?: string | undefined;
  name: string;
}

export interface ListOptions {
  /** Absent: all namespaces. */
  namespace?: string | undefined;
  /** Kubernetes label selector, e.g. `app=web,tier!=db`. */
  labelSelector?: string | undefined;
  /** Kubernetes field selector, e.g. `spec.nodeName=node1,metadata.name=web`. */
  fieldSelector?: string | undefined;
}

export interface WatchOptions extends ListOptions {
  /** Events after this revision; absent: an ADDED for each object there is, then what follows. */
  resourceVersion?: string | undefined;
  /** Ends the watch. */
  signal: AbortSignal;
}

export type WatchEvent<T> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }
  /** The first one after a watch without resourceVersion carries the annotation `k8s.io/initial-events-end`. */
  | {
      type: 'BOOKMARK';
      object: { metadata: { resourceVersion: string; annotations?: Record<string, string> } };
    };

/** Set to "true" on the bookmark that ends the initial events: all there was has been told. */
export const initialEventsEnd = 'k8s.io/initial-events-end';

export interface PatchOptions {
  /** JSON merge patch (RFC 7386) unless told; strategic merge and JSON patch (RFC 6902) as kubectl uses them. */
  type?: 'merge' | 'strategic' | 'json';
  /** Changes `.status`, a Pod's resources, or its ephemeral containers, and nothing else. */
  subresource?: 'status' | 'resize' | 'ephemeralcontainers';
}

export interface DeleteOptions {
  /** Seconds; absent: the Pod's own terminationGracePeriodSeconds. 0 removes the object at once. */
  gracePeriodSeconds?: number | undefined;
  /** The call is refused with Conflict where uid or resourceVersion differ. */
  preconditions?: { uid?: string | undefined; resourceVersion?: string | undefined } | undefined;
}

/** All calls reject with ApiError. Objects given are never changed; objects returned must not be changed. */
export interface Client {
  get<R extends Resource>(resource: R, key: ObjectKey): Promise<Kinds[R]>;
  list<R extends Resource>(
    resource: R,
    options?: ListOptions,
  ): Promise<{ items: Kinds[R][]; resourceVersion: string }>;
  /** Ends (returns) when the signal aborts; rejects with Expired when the revision is no longer kept. */
  watch<R extends Resource>(resource: R, options: WatchOptions): AsyncIterable<WatchEvent<Kinds[R]>>;
  create<R extends Resource>(
    resource: R,
    object: unknown,
    options?: { namespace?: string | undefined },
  ): Promise<Kinds[R]>;
  /** Replaces spec and metadata; Conflict when metadata.resourceVersion is given and stale. */
  update<R extends Resource>(resource: R, object: Kinds[R]): Promise<Kinds[R]>;
  /** Replaces only `.status`. */
  updateStatus<R extends Resource>(resource: R, object: Kinds[R]): Promise<Kinds[R]>;
  /** JSON merge patch (RFC 7386) unless options say otherwise. */
  patch<R extends Resource>(
    resource: R,
    key: ObjectKey,
    patch: object,
    options?: PatchOptions,
  ): Promise<Kinds[R]>;
  delete<R extends Resource>(resource: R, key: ObjectKey, options?: DeleteOptions): Promise<Kinds[R]>;
}
