// One node's network loop, in the namespace it is started in, against an API on a Unix socket. Its argument is JSON;
// on standard output a line for each thing that happens; a line on standard input is a wish: status, resync, close, remove.
import { createInterface } from 'node:readline';
import { HttpClient } from '../../../lib/api/http/client.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { startNodeNetwork } from '../../../lib/node-network/loop.ts';
import { removeNodeNetwork } from '../../../lib/node-network/node-network.ts';
import type { BackendConfig } from '../../../lib/node-network/types.ts';

export interface ChildInput {
  readonly root: string;
  readonly socket: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly backend: BackendConfig;
  readonly clusterCidrs: readonly string[];
}

const input = JSON.parse(process.argv[2] ?? '{}') as ChildInput;
const paths = nodePaths(input.root);
const say = (what: object): void => void process.stdout.write(`${JSON.stringify(what)}\n`);

try {
  const begin = performance.now();
  const network = await startNodeNetwork({
    client: new HttpClient({ socketPath: input.socket }),
    nodeName: input.name,
    address: input.addresses,
    backend: input.backend,
    paths,
    clusterCidrs: input.clusterCidrs,
    log: { info: (message) => say({ log: message }), warn: (message) => say({ log: message }) },
  });
  say({ started: performance.now() - begin });
  for await (const wish of createInterface({ input: process.stdin })) {
    if (wish === 'status')
      say({ answer: { ...network.status(), underlay: undefined, notReady: network.notReady() } });
    if (wish === 'resync') {
      await network.resync();
      say({ answer: {} });
    }
    if (wish === 'remove') {
      await network.close();
      await removeNodeNetwork({ paths });
      say({ answer: {} });
    }
  }
  await network.close();
  process.exit(0);
} catch (error) {
  say({ failed: (error as { code?: string }).code, message: (error as Error).message });
  process.exit(1);
}
