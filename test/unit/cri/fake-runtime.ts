// A container runtime that only answers: a CRI server whose sandboxes and containers are what the test says.
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { RemoteState } from '../../../lib/cri/messages.ts';
import { protocol } from '../../../lib/cri/protocol.ts';
import { ownerLabel, podUidLabel } from '../../../lib/cri/requests.ts';

export interface FakeContainer {
  state: RemoteState;
  exitCode?: number;
  reason?: string;
}

type Done = (error: { code: number; details: string } | null, reply?: object) => void;

export class FakeRuntime {
  readonly socket: string;
  readonly containers = new Map<string, FakeContainer>();
  readonly sandboxes = new Map<string, 'SANDBOX_READY' | 'SANDBOX_NOTREADY'>();
  /** Calls by method. */
  readonly calls: string[] = [];
  /** Before ContainerStatus answers. */
  beforeStatus: (id: string) => void = () => {};
  readonly #folder: string;
  readonly #streams: ServerWritableStream<object, object>[] = [];
  #server: Server | undefined;

  constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), 'podwire-cri-'));
    this.socket = join(this.#folder, 'cri.sock');
  }

  /** `events`: as containerd 1.7 and later has them. */
  static async start(t: Test, options: { events: boolean; services?: string[] }): Promise<FakeRuntime> {
    const fake = new FakeRuntime();
    t.teardown(() => {
      fake.stop();
      rmSync(fake.#folder, { recursive: true });
    });
    await fake.listen(options);
    return fake;
  }

  async listen({
    events,
    services = ['RuntimeService', 'ImageService'],
  }: {
    events: boolean;
    services?: string[];
  }): Promise<void> {
    const loaded = loadPackageDefinition(
      fromJSON(protocol as unknown as Parameters<typeof fromJSON>[0], {
        longs: String,
        enums: String,
        defaults: true,
      }),
    ) as unknown as { runtime: { v1: Record<string, { service: never }> } };
    const server = new Server();
    const all: Record<string, object> = {
      RuntimeService: {
        Version: this.#unary('Version', () => ({ runtimeName: 'fake', runtimeVersion: '1' })),
        Status: this.#unary('Status', () => ({
          status: { conditions: [{ type: 'RuntimeReady', status: true }] },
        })),
        ListPodSandbox: this.#unary('ListPodSandbox', () => ({
          items: [...this.sandboxes].map(([id, state]) => ({ ...sandbox(id), state })),
        })),
        PodSandboxStatus: this.#unary('PodSandboxStatus', ({ podSandboxId = '' }) => ({
          status: {
            ...sandbox(podSandboxId),
            network: { ip: 'fd00::2', additionalIps: [{ ip: '10.0.0.2' }] },
          },
        })),
        ListContainers: this.#unary('ListContainers', () => ({
          containers: [...this.containers].map(([id, { state }]) => ({ id, podSandboxId: 's1', state })),
        })),
        ContainerStatus: this.#unary('ContainerStatus', ({ containerId = '' }) => {
          const found = this.containers.get(containerId);
          const answer = found && { ...found };
          this.beforeStatus(containerId);
          if (!answer) throw { code: status.NOT_FOUND, details: `container ${containerId}: not found` };
          return { status: { ...container(containerId), ...answer } };
        }),
        ...(events
          ? {
              GetContainerEvents: (stream: ServerWritableStream<object, object>) =>
                this.#streams.push(stream),
            }
          : {}),
      },
      ImageService: {},
    };
    for (const name of services) server.addService(loaded.runtime.v1[name]!.service, all[name] as never);
    this.#server = server;
    await new Promise<void>((resolve, reject) =>
      server.bindAsync(`unix://${this.socket}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      ),
    );
  }

  /** Somebody waits for its events. */
  get isListenedTo(): boolean {
    return this.#streams.length > 0;
  }

  event(containerId: string): void {
    for (const stream of this.#streams) stream.write({ containerId });
  }

  stop(): void {
    this.#server?.forceShutdown();
    this.#streams.length = 0;
  }

  #unary(name: string, answer: (request: Record<string, string>) => object) {
    return (call: { request: Record<string, string> }, done: Done): void => {
      this.calls.push(name);
      try {
        done(null, answer(call.request));
      } catch (error) {
        done(error as { code: number; details: string });
      }
    };
  }
}

const labels = { [ownerLabel]: '/', [podUidLabel]: 'u1' };
const sandbox = (id: string) => ({
  id,
  metadata: { name: 'web', uid: 'u1', namespace: 'default', attempt: 0 },
  createdAt: '1700000000123456789',
  labels,
});
const container = (id: string) => ({
  id,
  metadata: { name: 'c', attempt: 0 },
  createdAt: '1700000000000000000',
  startedAt: '1700000001000000000',
  finishedAt: '1700000002000000000',
  imageRef: 'docker.io/library/x@sha256:abc',
  labels,
  annotations: {},
  logPath: '/log',
});
