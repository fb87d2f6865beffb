// Events as Kubernetes' recorder writes them: the same event again raises `count` instead of adding an object.
// Assumes that losing an event is better than failing a sync: failures are logged, never thrown.
// One write an event; a table of the last 500 to fold repeats.
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { Client } from './client.ts';
import { kindOf } from './pod-containers.ts';
import { timestamp } from './time.ts';
import type { ApiObject, Event, Pod } from './types.ts';

export interface EventInput {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  /** Of the container the event is about. */
  readonly container?: string;
}

/** Who tells: a kubelet with its node's name, or a controller. */
export interface EventSource {
  readonly component: string;
  readonly host?: string;
}

const remembered = 500;
/** While no server answers; client-go keeps as many. */
const mostWaiting = 1000;

/** The field of a Pod's spec that holds a container of that name. */
function listOf(about: ApiObject, container: string): string {
  const { spec } = about as Partial<Pod>;
  const kind = spec ? kindOf(spec, container) : 'app';
  if (kind === 'ephemeral') return 'spec.ephemeralContainers';
  return kind === 'app' ? 'spec.containers' : 'spec.initContainers';
}

export class EventRecorder {
  readonly #client: Client;
  readonly #source: EventSource;
  readonly #log: Logger;
  readonly #known = new Map<string, Event>();
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(client: Client, source: EventSource, log: Logger) {
    this.#client = client;
    this.#source = source;
    this.#log = log;
  }

  /** Writes the event in the background, in order; lost where too many wait. */
  record(about: ApiObject & { metadata: { namespace?: string } }, event: EventInput): void {
    if (this.#waiting >= mostWaiting) return;
    this.#waiting++;
    this.#tail = this.#tail
      .then(() => this.#write(about, event))
      .catch((error) => this.#log.warn({ err: error, reason: event.reason }, 'event not written'))
      .finally(() => this.#waiting--);
  }

  /** Resolves when all that was recorded is written. */
  async flush(): Promise<void> {
    await this.#tail;
  }

  async #write(about: ApiObject & { metadata: { namespace?: string } }, event: EventInput): Promise<void> {
    const { type, reason, message, container } = event;
    const namespace = about.metadata.namespace ?? 'default';
    const key = [about.kind, namespace, about.metadata.uid, container ?? '', type, reason, message].join(
      '\0',
    );
    const now = timestamp(Date.now());
    const known = this.#known.get(key);
    if (known) {
      try {
        const again = { ...known, count: (known.count ?? 1) + 1, lastTimestamp: now };
        this.#remember(key, await this.#client.update('events', again));
        return;
      } catch {
        this.#known.delete(key); // expired or removed meanwhile: write a new one
      }
    }
    const tag = createHash('sha256')
      .update(`${key}\0${now}\0${process.hrtime.bigint()}`)
      .digest('hex')
      .slice(0, 16);
    const created = await this.#client.create(
      'events',
      {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name: `${about.metadata.name}.${tag}`, namespace },
        involvedObject: {
          apiVersion: about.apiVersion,
          kind: about.kind,
          name: about.metadata.name,
          namespace: about.metadata.namespace,
          uid: about.metadata.uid,
          ...(container ? { fieldPath: `${listOf(about, container)}{${container}}` } : {}),
        },
        type,
        reason,
        message,
        source: { ...this.#source },
        reportingComponent: this.#source.component,
        reportingInstance: this.#source.host ?? '',
        firstTimestamp: now,
        lastTimestamp: now,
        count: 1,
      },
      { namespace },
    );
    this.#remember(key, created);
  }

  #remember(key: string, event: Event): void {
    this.#known.delete(key);
    this.#known.set(key, event);
    if (this.#known.size > remembered) this.#known.delete(this.#known.keys().next().value as string);
  }
}
