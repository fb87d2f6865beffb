// podwire through its API over the unix socket: a POST and a watch to start, a DELETE and the same watch to remove.
// Assumes dist/ is built (npm run bench does). The daemon has a root of its own; one watch serves all Pods.
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { initialEventsEnd } from '../../lib/api/client.ts';
import { HttpClient, linesOf } from '../../lib/api/http/client.ts';
import type { Pod } from '../../lib/api/types.ts';
import { startDetached } from '../../lib/exec/detached.ts';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';
import type { Step } from '../../lib/exec/step-clock.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';
import { podwireRoot } from '../lib/cell.ts';
import type { ProcessMemory } from '../lib/memory.ts';
import { endProcess, tailOf, until } from '../lib/wait.ts';
import { graceSeconds, type Peer, type PeerContext, type Workload } from './peer.ts';

const program = fileURLToPath(new URL('../../bin/podwired', import.meta.url));
const namespace = 'default';
const stepsAnnotation = 'podwire.dev/start-steps';
const eventTimeoutMs = 120_000;

export async function startPodwire(context: PeerContext): Promise<Peer> {
  const { folder, workload } = context;
  const root = podwireRoot(folder.slice(0, folder.lastIndexOf('/')));
  const logFile = `${root}/podwired.out`;
  const daemon = await startDetached({ argv: [program, '--root', root], logFile });
  const client = new HttpClient({ socketPath: nodePaths(root).socket });
  try {
    await until('podwired answers', 30_000, () => client.get('namespaces', { name: namespace }));
    await importImage(client, workload);
    const watcher = new PodWatcher();
    await watcher.open(client);
    const { gitVersion } = await client.request<{ gitVersion: string }>('GET', '/version');
    return new Podwire({
      client,
      watcher,
      workload,
      pid: daemon.pid,
      ended: daemon.ended,
      version: gitVersion,
    });
  } catch (error) {
    await endProcess(daemon, 'SIGKILL');
    throw new PodwireError('PEER_FAILED', `${messageOf(error)}\n${tailOf(logFile)}`, { cause: error });
  }
}

async function importImage(client: HttpClient, { imageArchive, imageRef }: Workload): Promise<void> {
  const body = { path: imageArchive, ref: imageRef };
  const response = await client.open({ method: 'POST', path: '/podwire/v1/images/import', body });
  for await (const line of linesOf(response)) {
    const { error } = JSON.parse(line) as { error?: string };
    if (error) throw new PodwireError('IMPORT_FAILED', error);
  }
}

interface Parts {
  readonly client: HttpClient;
  readonly watcher: PodWatcher;
  readonly workload: Workload;
  readonly pid: number;
  readonly ended: Promise<unknown>;
  readonly version: string;
}

class Podwire implements Peer {
  readonly name = 'podwire';
  readonly version: string;
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.version = parts.version;
  }

  get daemonPid(): number {
    return this.#parts.pid;
  }

  start(pod: string): Promise<void> {
    return this.#start(pod, manifest(pod, this.#parts.workload));
  }

  startProbed(pod: string, command: readonly string[], readinessProbe: object | undefined): Promise<void> {
    return this.#start(pod, manifest(pod, this.#parts.workload, { command, readinessProbe }));
  }

  async #start(pod: string, object: object): Promise<void> {
    const { client, watcher } = this.#parts;
    const running = watcher.when(pod, 'Running');
    await Promise.all([running, client.create('pods', object, { namespace })]);
  }

  async remove(pod: string): Promise<void> {
    const { client, watcher } = this.#parts;
    const gone = watcher.when(pod, 'gone');
    await Promise.all([
      gone,
      client.delete('pods', { namespace, name: pod }, { gracePeriodSeconds: graceSeconds }),
    ]);
  }

  async verify(pod: string): Promise<void> {
    const { status } = await this.#parts.client.get('pods', { namespace, name: pod });
    const running = status?.containerStatuses?.every((container) => container.state?.running !== undefined);
    if (!running || !status?.podIP || status.containerStatuses?.length !== 1)
      throw new PodwireError('NOT_RUNNING', `podwire: ${pod}: ${JSON.stringify(status)}`);
  }

  /** The daemon writes them after the Pod runs, so that writing them is not on the way. */
  async steps(pod: string): Promise<readonly Step[]> {
    for (let tries = 0; tries < 40; tries++) {
      const { metadata } = await this.#parts.client.get('pods', { namespace, name: pod });
      const text = metadata.annotations?.[stepsAnnotation];
      if (text) return JSON.parse(text) as Step[];
      await sleep(25);
    }
    return [];
  }

  role({ pid, command, argv }: ProcessMemory): 'daemon' | 'pod' | undefined {
    if (pid === this.#parts.pid) return 'daemon';
    return command === 'conmon' || /catatonit -P$|sleep infinity$/.test(argv) ? 'pod' : undefined;
  }

  async close(): Promise<void> {
    const { client, watcher } = this.#parts;
    watcher.close();
    client.close();
    await endProcess(this.#parts, 'SIGTERM');
  }
}

function manifest(pod: string, { imageRef, command }: Workload, container: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: pod },
    spec: {
      terminationGracePeriodSeconds: graceSeconds,
      containers: [{ name: 'main', image: imageRef, command, imagePullPolicy: 'Never', ...container }],
    },
  };
}

type Moment = 'Running' | 'gone';

/** One watch over all Pods, and who waits for what. */
class PodWatcher {
  readonly #waiting = new Map<string, { resolve: () => void; reject: (error: unknown) => void }>();
  readonly #abort = new AbortController();
  #failure: unknown;

  /** Resolves when the watch stands: what is applied from now on is seen. */
  open(client: HttpClient): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#follow(client, resolve).catch((error: unknown) => {
        this.#failure = error;
        reject(error);
        for (const { reject: fail } of this.#waiting.values()) fail(error);
      });
    });
  }

  async #follow(client: HttpClient, onOpen: () => void): Promise<void> {
    for await (const event of client.watch('pods', { namespace, signal: this.#abort.signal })) {
      if (event.type === 'BOOKMARK') {
        if (event.object.metadata.annotations?.[initialEventsEnd]) onOpen();
      } else if (event.type === 'DELETED') this.#tell(event.object.metadata.name, 'gone');
      else this.#seen(event.object);
    }
  }

  #seen({ metadata, status }: Pod): void {
    if (status?.phase === 'Running') this.#tell(metadata.name, 'Running');
    if (status?.phase !== 'Failed' && status?.phase !== 'Succeeded') return;
    const waiter = this.#waiting.get(`${metadata.name} Running`);
    waiter?.reject(new PodwireError('NOT_RUNNING', `podwire: ${metadata.name}: ${JSON.stringify(status)}`));
  }

  #tell(pod: string, moment: Moment): void {
    const key = `${pod} ${moment}`;
    this.#waiting.get(key)?.resolve();
    this.#waiting.delete(key);
  }

  when(pod: string, moment: Moment): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () =>
          reject(
            new PodwireError('PEER_TIMEOUT', `podwire: ${pod}: not ${moment} within ${eventTimeoutMs} ms`),
          ),
        eventTimeoutMs,
      );
      const settled =
        <A extends unknown[]>(act: (...args: A) => void) =>
        (...args: A) => {
          clearTimeout(timer);
          act(...args);
        };
      this.#waiting.set(`${pod} ${moment}`, { resolve: settled(resolve), reject: settled(reject) });
    });
  }

  close(): void {
    this.#abort.abort();
  }
}
