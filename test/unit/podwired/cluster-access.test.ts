// The server's face to other machines: what a person is told of ports and addresses that will not do.
import { pino } from 'pino';
import t from 'tap';
import type { Listening } from '../../../lib/apiserver/app.ts';
import { PodwireError } from '../../../lib/exec/errors.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { ClusterAccess } from '../../../cmd/podwired/cluster-access.ts';
import { startRegistry } from '../apiserver/fixtures.ts';

t.test('a port that is taken, an address that no link has', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  const taken: Listening = {
    listen: async () => {},
    listenTls: async ({ host, port }) => {
      if (port === 6443)
        throw new PodwireError('PORT_IN_USE', `${host} port ${port}: another program listens there`);
      return { host, port, renew: () => {} };
    },
    close: async () => {},
  };
  const access = new ClusterAccess({
    paths: nodePaths(t.testdir()),
    nodeName: 'one',
    nodeIp: '127.0.0.1',
    flags: { nodePort: 0 },
    settings: {},
    registry,
    remember: () => {},
    log: pino({ enabled: false }),
  });
  t.teardown(() => access.close());
  await access.start(taken, taken);
  await t.rejects(access.open({}), { code: 'Conflict', message: /6443: another program .*--listen :7443/ });
  await access.open({ listen: ':7443', advertiseAddress: '192.0.2.1' });
  t.strictSame(access.ownAddresses(), ['192.0.2.1:7443']);
  t.match(access.remark, /no link of this machine has 192\.0\.2\.1/);
  await access.open({ advertiseAddress: '127.0.0.1' });
  t.equal(access.remark, undefined, "the node's own");
});
