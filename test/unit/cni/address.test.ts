// Address arithmetic: both families, the edges, and texts that are no address.
import t from 'tap';
import {
  contains,
  formatCidr,
  formatIp,
  lastOf,
  networkOf,
  overlap,
  parseCidr,
  parseIp,
  plus,
} from '../../../lib/cni/address.ts';

const canonical: Array<[string, string | undefined]> = [
  ['10.244.0.1', '10.244.0.1'],
  ['0.0.0.0', '0.0.0.0'],
  ['255.255.255.255', '255.255.255.255'],
  ['::', '::'],
  ['::1', '::1'],
  ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['fe80::0:1', 'fe80::1'],
  ['1::', '1::'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
  ['10.0.0', undefined],
  ['10.0.0.256', undefined],
  ['10.0.0.01', undefined],
  ['10.0.0.1.', undefined],
  ['', undefined],
  ['1:2:3:4:5:6:7', undefined],
  ['1:2:3:4:5:6:7:8:9', undefined],
  ['1::2::3', undefined],
  [':::', undefined],
  ['1:2:3:4:5:6:7::8', undefined],
  ['fe80::1%eth0', undefined],
  ['g::1', undefined],
  ['12345::', undefined],
  ['::1.2.3', undefined],
];
for (const [text, wanted] of canonical)
  t.test(`parse ${JSON.stringify(text)}`, async (t) => {
    const ip = parseIp(text);
    t.equal(ip && formatIp(ip), wanted);
  });

const nets: Array<[string, string, string]> = [
  ['10.1.2.3/24', '10.1.2.0', '10.1.2.255'],
  ['10.1.2.3/32', '10.1.2.3', '10.1.2.3'],
  ['10.1.2.3/0', '0.0.0.0', '255.255.255.255'],
  ['fd00::5/64', 'fd00::', 'fd00::ffff:ffff:ffff:ffff'],
];
for (const [text, first, last] of nets)
  t.test(`net ${text}`, async (t) => {
    const cidr = parseCidr(text);
    t.ok(cidr);
    if (!cidr) return;
    t.equal(formatIp(networkOf(cidr)), first);
    t.equal(formatIp(lastOf(cidr)), last);
    t.equal(formatCidr(cidr), text);
    t.ok(contains(cidr, networkOf(cidr)) && contains(cidr, lastOf(cidr)));
    if (cidr.length > 0) t.notOk(contains(cidr, plus(lastOf(cidr), 1n)));
  });

t.test('what is no net', async (t) => {
  for (const text of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', '10.0.0.0/-1', '/24', '10.0.0.0/2x', 'x/8'])
    t.equal(parseCidr(text), undefined, text);
});

t.test('overlap', async (t) => {
  const cidr = (text: string) => parseCidr(text) as NonNullable<ReturnType<typeof parseCidr>>;
  t.ok(overlap(cidr('10.0.0.0/8'), cidr('10.1.0.0/16')));
  t.ok(overlap(cidr('10.1.0.0/16'), cidr('10.0.0.0/8')));
  t.notOk(overlap(cidr('10.1.0.0/16'), cidr('10.2.0.0/16')));
  t.notOk(overlap(cidr('::/0'), cidr('0.0.0.0/0')), 'families never overlap');
});
