// macvlan and vlan: their configurations, and the change that makes each.
import t from 'tap';
import { macvlanKind, parseConf as parseMacvlan } from '../../../cni-plugins/macvlan/macvlan.ts';
import { parseConf as parseVlan, vlanKind } from '../../../cni-plugins/vlan/vlan.ts';
import { Fields } from '../../../lib/cni/json.ts';
import type { LinkInfo } from '../../../lib/kernel/link-info.ts';
import { ipLine, type LinkFacts } from '../../../lib/kernel/net.ts';

const macvlan = (json: object, args: Record<string, string> = {}) => parseMacvlan(new Fields(json, ''), args);
const vlan = (json: object) => parseVlan(new Fields(json, ''));
const parent: LinkInfo & LinkFacts = {
  addresses: [],
  name: 'up0',
  kind: '',
  data: {},
  mac: '02:00:00:00:00:aa',
  mtu: 1500,
  up: true,
  alias: '',
};
const making = { name: 'pw123', parent: 'up0', netns: 'web' };

const refused: Array<[string, () => unknown, RegExp]> = [
  ['mode', () => macvlan({ mode: 'source' }), /^mode: .*passthru, got "source"/],
  ['master', () => macvlan({ master: 'a/b' }), /^master: /],
  ['mtu', () => macvlan({ mtu: 70000 }), /^mtu: /],
  ['mac', () => macvlan({ mac: 'no' }), /^mac: /],
  ['mac in passthru', () => macvlan({ mode: 'passthru', mac: '02:00:00:00:00:01' }), /^mac: .*passthru/],
  ['no master', () => vlan({ vlanId: 5 }), /^master: /],
  ['vlanId', () => vlan({ master: 'up0', vlanId: 4095 }), /^vlanId: .*4094, got 4095/],
];
for (const [name, work, message] of refused)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(work, { cniCode: 7, message });
  });

t.test('macvlan', async (t) => {
  t.match(macvlan({}), {
    master: '',
    mode: 'bridge',
    linkInContainer: false,
    mtu: undefined,
    queue: undefined,
  });
  const mac = { mac: '02:00:00:00:00:01' };
  t.equal(macvlan(mac, { MAC: '02:00:00:00:00:0B' }).mac, '02:00:00:00:00:0b', 'CNI_ARGS is stronger');
  const conf = macvlan({ ...mac, mode: 'vepa', bcqueuelen: 50 });
  const op = macvlanKind.make(conf, { ...making, mtu: 1400 });
  t.equal(
    ipLine(op),
    'link add link up0 name pw123 address 02:00:00:00:00:01 mtu 1400 netns web type macvlan mode vepa bcqueuelen 50',
  );
  t.equal(macvlanKind.macOf(op, parent), '02:00:00:00:00:01');
  const passed = macvlanKind.make(macvlan({ mode: 'passthru' }), { name: 'pw123', parent: 'up0' });
  t.equal(ipLine(passed), 'link add link up0 name pw123 type macvlan mode passthru');
  t.equal(macvlanKind.macOf(passed, parent), parent.mac);
  t.strictSame(macvlanKind.faults(conf, { ...parent, data: { mode: 'bridge' } }), [
    'its mode is bridge, not vepa',
  ]);
});

t.test('vlan', async (t) => {
  const conf = vlan({ master: 'up0', vlanId: 100 });
  const op = vlanKind.make(conf, making);
  t.equal(ipLine(op), 'link add link up0 name pw123 netns web type vlan id 100');
  t.equal(vlanKind.macOf(op, parent), parent.mac);
  t.strictSame(vlanKind.faults(conf, { ...parent, data: { id: 7 } }), ['it is in VLAN 7, not 100']);
});
