// A Client with nothing but Nodes, in memory: an API of a thousand machines without the machines.
// Assumes a loop that lists and watches Nodes and patches its own. Nodes are as large as real ones (about 3 KB of JSON).
import type { Client, WatchEvent } from '../../lib/api/client.ts';
import type { Node } from '../../lib/api/types.ts';

type Listener = (event: WatchEvent<Node>) => void;

export class SimulatedNodes {
  readonly #nodes = new Map<string, Node>();
  readonly #listeners = new Set<Listener>();
  #revision = 1;

  get names(): string[] {
    return [...this.#nodes.keys()];
  }

  get(name: string): Node {
    const node = this.#nodes.get(name);
    if (!node) throw new Error(`no node ${name}`);
    return node;
  }

  put(node: Node): void {
    const { name } = node.metadata;
    const type = this.#nodes.has(name) ? 'MODIFIED' : 'ADDED';
    const object = { ...node, metadata: { ...node.metadata, resourceVersion: String(++this.#revision) } };
    this.#nodes.set(name, object);
    for (const tell of this.#listeners) tell({ type, object });
  }

  delete(name: string): void {
    const object = this.get(name);
    this.#nodes.delete(name);
    for (const tell of this.#listeners) tell({ type: 'DELETED', object });
  }

  client(): Client {
    const list = async () => ({ items: [...this.#nodes.values()], resourceVersion: String(this.#revision) });
    const patch = async (_: string, { name }: { name: string }, body: object) => {
      const { metadata } = body as Pick<Node, 'metadata'>;
      const node = this.get(name);
      const annotations = { ...node.metadata.annotations, ...metadata.annotations };
      this.put({ ...node, metadata: { ...node.metadata, annotations } });
      return this.get(name);
    };
    const watch = (_: string, { signal }: { signal: AbortSignal }) => this.#watch(signal);
    return { list, patch, watch } as unknown as Client;
  }

  async *#watch(signal: AbortSignal): AsyncGenerator<WatchEvent<Node>> {
    const queue: WatchEvent<Node>[] = [];
    let wake = (): void => {};
    const listener: Listener = (event) => {
      queue.push(event);
      wake();
    };
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => wake(), { once: true });
    try {
      while (!signal.aborted) {
        for (const event of queue.splice(0)) yield event;
        if (!signal.aborted && queue.length === 0)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      this.#listeners.delete(listener);
    }
  }
}

export interface SimulatedNode {
  readonly name: string;
  readonly podCidrs: readonly string[];
  readonly address: string;
}

/** Number `at` of many: a /24 and a /64 of its own. */
export const numbered = (at: number): SimulatedNode => ({
  name: `node-${at}`,
  podCidrs: [`10.${128 + (at >> 8)}.${at & 255}.0/24`, `fd00:10:${at.toString(16)}::/64`],
  address: `172.16.${at >> 8}.${at & 255}`,
});

export function makeNode({ name, podCidrs, address }: SimulatedNode): Node {
  const time = '2026-01-01T00:00:00Z';
  const condition = (type: string) => ({
    type,
    status: type === 'Ready' ? ('True' as const) : ('False' as const),
    reason: `Kubelet${type}`,
    message: `the kubelet says ${type}, in a sentence of the length that such sentences have`,
    lastHeartbeatTime: time,
    lastTransitionTime: time,
  });
  const images = Array.from({ length: 10 }, (_, at) => ({
    names: [`registry.example/${name}/image-${at}@sha256:${'0'.repeat(64)}`],
    sizeBytes: 1e8 + at,
  }));
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, uid: name, resourceVersion: '1', creationTimestamp: time, annotations: {} },
    spec: { podCIDR: podCidrs[0] ?? '', podCIDRs: [...podCidrs] },
    status: {
      addresses: [{ type: 'InternalIP', address }],
      conditions: ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'].map(condition),
      images,
    },
  } as unknown as Node;
}
