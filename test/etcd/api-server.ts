// An API server without a node, over an etcd, to be killed: node api-server.ts SOCKET DATASTORE; says "ready" on stdout.
import { ApiError } from '../../lib/api/errors.ts';
import { Registry } from '../../lib/apiserver/registry/registry.ts';
import { createApiServer } from '../../lib/apiserver/server.ts';
import { parseEtcdAddress } from '../../lib/store/etcd/endpoints.ts';
import { openEtcdStore } from '../../lib/store/etcd/etcd.ts';

const [socket, datastore] = process.argv.slice(2) as [string, string];
const noNode = (): never => {
  throw new ApiError('BadRequest', 'no node here');
};
const store = await openEtcdStore(parseEtcdAddress(datastore));
const registry = new Registry({ store, compactionMs: 5000, onError: (error) => console.error(error) });
await registry.start();
const server = await createApiServer({
  registry,
  streams: { logs: noNode, exec: noNode, attach: noNode, portForward: noNode },
  version: 'test',
  onError: (error) => console.error(`${socket}: ${error.message}`),
});
await server.listen(socket);
process.stdout.write('ready\n');
