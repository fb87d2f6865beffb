// static under bridge, against real namespaces, in every version.
import t from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { bridgeConf, makeLab } from './fixture.ts';
import { failedAdd, round } from './round.ts';

for (const cniVersion of specVersions)
  t.test(`static ${cniVersion}`, async (t) => {
    const lab = await makeLab();
    const netns = lab.container();
    const conf = bridgeConf(lab, {
      cniVersion,
      capabilities: { ips: true },
      ipam: {
        type: 'static',
        addresses: [{ address: '10.88.0.77/24', gateway: '10.88.0.1' }, { address: 'fd00:88::0:77/64' }],
        routes: [{ dst: '0.0.0.0/0' }],
        dns: { nameservers: ['10.88.0.1'], search: ['example'] },
      },
    });
    await round(t, {
      lab,
      conf,
      netns,
      meanwhile: (result) => {
        t.match(result, {
          ips: [{ address: '10.88.0.77/24', gateway: '10.88.0.1' }, { address: 'fd00:88::77/64' }],
          dns: { nameservers: ['10.88.0.1'], search: ['example'] },
        });
        t.match(lab.ip(netns, 'route', 'show', 'default'), [{ gateway: '10.88.0.1' }]);
      },
    });
    const asked = { ...conf, runtimeConfig: { ips: ['10.88.0.5/24'] } };
    t.match((await lab.call('ADD', asked, { netns })).json, { ips: [{ address: '10.88.0.5/24' }] });
    t.ok((await lab.call('DEL', asked, { netns })).ok);
    await failedAdd(t, {
      lab,
      conf: { ...conf, ipam: { type: 'static' } },
      netns,
      code: 7,
      msg: /gave no address/,
    });
    t.strictSame(lab.close(), ['br0']);
  });
