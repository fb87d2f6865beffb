// Many at once: addresses are unique, the bridge is made once, and all is gone in the end. And Pods reach each other.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { parseList } from '../../../lib/cni/conf.ts';
import { Cni } from '../../../lib/cni/runtime.ts';
import { bridgeConf, makeLab } from './fixture.ts';

const many = 50;

t.test(`${many} ADDs at once, ${many} DELs at once`, async (t) => {
  const lab = await makeLab();
  const names = Array.from({ length: many }, () => lab.container());
  const conf = bridgeConf(lab);
  const answers = await Promise.all(names.map((netns) => lab.call('ADD', conf, { netns, id: netns })));
  t.strictSame(
    answers.filter((one) => !one.ok).map((one) => one.json),
    [],
  );
  t.equal(new Set(answers.map((one) => one.json.ips[0].address)).size, many);
  t.equal(new Set(answers.map((one) => one.json.interfaces[0].mac)).size, 1, 'one bridge, one MAC');
  t.equal(lab.leases('net').length, many);
  t.equal(lab.links().length, many + 1);
  const gone = await Promise.all(names.map((netns) => lab.call('DEL', conf, { netns, id: netns })));
  t.strictSame(
    gone.filter((one) => !one.ok).map((one) => one.json),
    [],
  );
  t.strictSame(lab.leases('net'), []);
  t.strictSame(lab.links(), ['br0']);
  lab.close();
});

t.test('two hundred at once ask host-local, two hundred different addresses', async (t) => {
  const lab = await makeLab();
  const conf = { ...bridgeConf(lab), type: 'host-local' };
  const ids = Array.from({ length: 200 }, (_, at) => `c${at}`);
  const call = (command: string) =>
    Promise.all(ids.map((id) => lab.call(command, conf, { id, netns: '/run/netns/not-looked-at' })));
  const answers = await call('ADD');
  t.strictSame(
    answers.filter((one) => !one.ok).map((one) => one.json),
    [],
  );
  t.equal(new Set(answers.map((one) => one.json.ips[0].address)).size, ids.length);
  t.equal(lab.leases('net').length, ids.length);
  await call('DEL');
  t.strictSame(lab.leases('net'), []);
  lab.close();
});

t.test('lib/cni with the real plugins, a chain of two, and Pods that talk', async (t) => {
  const lab = await makeLab();
  const { cniVersion, name, ...bridge } = bridgeConf(lab, { hairpinMode: true });
  const list = parseList({ cniVersion, name, plugins: [{ type: 'loopback' }, bridge] });
  const cni = new Cni({ pluginDirs: [lab.plugins], cacheDir: join(lab.dir, 'cache'), exec: lab.exec });
  const pods = [lab.container(), lab.container()] as const;
  const attach = (netns: string) => ({ containerId: netns, ifname: 'eth0', netns: `/run/netns/${netns}` });
  const results = await Promise.all(pods.map((netns) => cni.addNetworkList(list, attach(netns))));
  const [server, client] = results.map(
    (result) =>
      (result.ips?.find((ip) => ip.address.startsWith('10.88'))?.address ?? '').split('/')[0] as string,
  );

  // The server tells each caller the address it came from: no NAT between Pods.
  const code = `require('net').createServer((s) => s.end(s.remoteAddress)).listen(8080, '0.0.0.0', () => console.log('up'))`;
  const listening = spawn('ip', ['netns', 'exec', pods[0], process.execPath, '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await new Promise((resolve) => listening.stdout.once('data', resolve));
    const ask = (netns: string, address: string): string =>
      lab
        .inside(netns, [
          process.execPath,
          '-e',
          `require('net').connect(8080, '${address}').setTimeout(30000, () => process.exit(1)).pipe(process.stdout)`,
        ])
        .replace('::ffff:', '');
    t.equal(ask(pods[1], server as string), client, 'Pod to Pod, with the real source');
    t.equal(ask(pods[0], '127.0.0.1'), '127.0.0.1', 'lo is up');
    t.equal(ask(lab.host, server as string), '10.88.0.1', 'node to Pod');
  } finally {
    listening.kill('SIGKILL');
  }
  for (const netns of pods) await cni.checkNetworkList(list, attach(netns));
  await cni.getStatus(list);
  lab.removeContainer(pods[1]);
  for (const netns of pods) await cni.delNetworkList(list, attach(netns));
  t.strictSame(lab.leases('net'), []);
  t.strictSame(lab.links(), ['br0']);
  lab.close();
});
