// A registry over an empty store, and the same behind HTTP on a Unix socket of its own.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HttpClient } from '../../../lib/api/http/client.ts';
import { Registry, type RegistryOptions } from '../../../lib/apiserver/registry/registry.ts';
import { type ApiServerOptions, createApiServer } from '../../../lib/apiserver/server.ts';
import type { PodStreams } from '../../../lib/api/streams.ts';
import { openSqliteStore } from '../../../lib/store/sqlite.ts';
import type { Store } from '../../../lib/store/store.ts';

export interface Running {
  registry: Registry;
  store: Store;
  close(): Promise<void>;
}

export async function startRegistry(options: Partial<RegistryOptions> = {}): Promise<Running> {
  const store = options.store ?? openSqliteStore({ path: ':memory:' });
  const registry = new Registry({ store, ...options });
  await registry.start();
  return {
    registry,
    store,
    close: async () => {
      await registry.close();
      await store.close();
    },
  };
}

/** Streams for servers whose test asks for none. */
export const noStreams: PodStreams = {
  logs: () => {
    throw new Error('no logs in this test');
  },
  exec: async () => {
    throw new Error('no exec in this test');
  },
  attach: async () => {
    throw new Error('no attach in this test');
  },
  portForward: async () => {
    throw new Error('no ports in this test');
  },
};

export interface RunningServer extends Running {
  client: HttpClient;
  socket: string;
}

export async function startServer(
  options: Partial<RegistryOptions> & { server?: Partial<ApiServerOptions> } = {},
): Promise<RunningServer> {
  const { server: serverOptions, ...registryOptions } = options;
  const running = await startRegistry(registryOptions);
  const folder = mkdtempSync(join(tmpdir(), 'podwire-api-'));
  const socket = join(folder, 'api.sock');
  const server = await createApiServer({
    registry: running.registry,
    streams: noStreams,
    version: '0.0.0',
    ...serverOptions,
  });
  await server.listen(socket);
  const client = new HttpClient({ socketPath: socket });
  return {
    ...running,
    client,
    socket,
    close: async () => {
      client.close();
      await running.registry.close();
      await server.close();
      await running.store.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A manifest as a person writes it. */
export const manifest = (name: string, more: { metadata?: object; spec?: object } = {}): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, ...more.metadata },
  spec: { containers: [{ name: 'a', image: 'nginx:1' }], ...more.spec },
});

/** As the daemon does: every Pod runs on the one node. */
export const onNode: RegistryOptions['admit'] = [
  ({ resource, object }) => {
    if (resource === 'pods') (object as unknown as { spec: { nodeName?: string } }).spec.nodeName ||= 'n1';
  },
];
