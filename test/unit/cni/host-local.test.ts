// host-local: its configuration, the pure allocator, the leases on disk, and what DEL, GC and a new boot release.
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { after, chooseNext, chooseRequested } from '../../../cni-plugins/host-local/allocator.ts';
import { capacity, inRange, parseConf, type RangeSet } from '../../../cni-plugins/host-local/conf.ts';
import { lease } from '../../../cni-plugins/host-local/host-local.ts';
import { parseResolvConf } from '../../../cni-plugins/host-local/resolv-conf.ts';
import { DiskStore } from '../../../cni-plugins/host-local/store.ts';
import { formatIp, type Ip, parseIp } from '../../../lib/cni/address.ts';
import { CniError } from '../../../lib/cni/errors.ts';
import { Fields } from '../../../lib/cni/json.ts';

const conf = (ipam: object, args: Record<string, string> = {}, more: object = {}) =>
  parseConf(new Fields({ name: 'net', ipam, ...more }, ''), args);
const ip = (text: string): Ip => parseIp(text) as Ip;

t.test('ranges and their defaults', async (t) => {
  const { sets } = conf({
    subnet: '10.1.0.0/24',
    ranges: [[{ subnet: 'fd00::/64', rangeStart: 'fd00::10', gateway: 'fd00::ff' }]],
  });
  t.same(
    sets.map((set) => set.map((range) => [range.start, range.end, range.gateway].map(formatIp))),
    [[['10.1.0.1', '10.1.0.254', '10.1.0.1']], [['fd00::10', 'fd00::ffff:ffff:ffff:ffff', 'fd00::ff']]],
  );
  t.equal(capacity(sets[0] as never), 253n, 'the gateway is not handed out');
});

const wrong: Array<[string, object, RegExp]> = [
  ['no range', {}, /ipam\.ranges/],
  ['no network', { subnet: '10.1.0.0' }, /ipam\.subnet.*10\.1\.0\.0/],
  ['host bits', { subnet: '10.1.0.5/24' }, /ipam\.subnet.*10\.1\.0\.0\/24/],
  ['too small', { subnet: '10.1.0.0/31' }, /prefix length up to 30/],
  ['start outside', { subnet: '10.1.0.0/24', rangeStart: '10.2.0.1' }, /ipam\.rangeStart.*10\.2\.0\.1/],
  ['end before start', { subnet: '10.1.0.0/24', rangeStart: '10.1.0.9', rangeEnd: '10.1.0.8' }, /rangeStart/],
  ['gateway of another family', { subnet: '10.1.0.0/24', gateway: 'fd00::1' }, /ipam\.gateway/],
  [
    'mixed families',
    { ranges: [[{ subnet: '10.1.0.0/24' }, { subnet: 'fd00::/64' }]] },
    /one address family/,
  ],
  ['overlap', { ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: '10.1.0.0/16' }]] }, /overlap/],
  ['relative dataDir', { subnet: '10.1.0.0/24', dataDir: 'leases' }, /ipam\.dataDir/],
  ['a range that is none', { ranges: [[7]] }, /ipam\.ranges\[0\]\[0\]/],
  ['a route without dst', { subnet: '10.1.0.0/24', routes: [{}] }, /ipam\.routes\[0\]\.dst/],
];
for (const [name, ipam, message] of wrong)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => conf(ipam), { message, cniCode: 7 });
  });

t.test('addresses asked for', async (t) => {
  const range = { subnet: '10.1.0.0/24' };
  const asked = conf(
    range,
    { IP: '10.1.0.9' },
    { args: { cni: { ips: ['10.1.0.8'] } }, runtimeConfig: { ips: ['10.1.0.7/24'] } },
  );
  t.same(asked.requested.map(formatIp), ['10.1.0.9', '10.1.0.8', '10.1.0.7']);
  t.throws(() => conf(range, { IP: 'nine' }), { cniCode: 4, message: /IP/ });
});

t.test('round robin', async (t) => {
  const [set] = conf({
    ranges: [
      [
        { subnet: '10.1.0.0/29', rangeEnd: '10.1.0.4' },
        { subnet: '10.2.0.0/29', rangeStart: '10.2.0.2', rangeEnd: '10.2.0.3' },
      ],
    ],
  }).sets;
  if (!set) return t.fail('one set');
  const order = (last?: string) => {
    const found: string[] = [];
    for (
      let one = last === undefined ? undefined : ip(last);
      found.length < 6;
      one = ip(found.at(-1) as string)
    )
      found.push(formatIp(after(set, one).ip));
    return found;
  };
  t.same(order(), ['10.1.0.1', '10.1.0.2', '10.1.0.3', '10.1.0.4', '10.2.0.2', '10.2.0.3']);
  t.same(order('10.1.0.3'), ['10.1.0.4', '10.2.0.2', '10.2.0.3', '10.1.0.1', '10.1.0.2', '10.1.0.3']);
  t.same(order('10.2.0.3'), ['10.1.0.1', '10.1.0.2', '10.1.0.3', '10.1.0.4', '10.2.0.2', '10.2.0.3']);
  t.same(order('10.9.0.1'), order(), 'a last address of no range counts as none');
  const taken = new Set(['10.1.0.2', '10.1.0.3']);
  const next = (last?: string) => {
    const choice = chooseNext(set, last === undefined ? undefined : ip(last), {
      isTaken: (one) => taken.has(formatIp(one)),
      allTaken: () => t.fail('a set this small is asked one by one') as never,
      random: () => t.fail('nothing is left to chance') as never,
    });
    return choice && formatIp(choice.ip);
  };
  t.equal(next(), '10.1.0.4', 'past the gateway and what is taken');
  t.equal(next('10.2.0.2'), '10.2.0.3');
  for (const one of order()) taken.add(one);
  t.equal(next(), undefined);
  t.equal(
    chooseRequested(set, ip('10.1.0.1'), () => false),
    'gateway',
  );
  t.equal(
    chooseRequested(set, ip('10.1.0.4'), () => true),
    'taken',
  );
  t.equal(
    chooseRequested(set, ip('10.9.0.4'), () => false),
    undefined,
  );
});

t.test('a range nearly full', async (t) => {
  const [set] = conf({ subnet: '10.1.0.0/16' }).sets;
  if (!set) return t.fail('one set');
  const numbers = [0.25, 0.75, 0.5, 0.999999];
  const choose = (isFree: (last: bigint) => boolean) => {
    const asked = { one: 0, all: 0, random: 0 };
    const isTaken = (one: Ip): boolean => !isFree(one.value & 0xffffn);
    const choice = chooseNext(set, ip('10.1.0.9'), {
      isTaken: (one) => {
        asked.one++;
        return isTaken(one);
      },
      allTaken: () => {
        asked.all++;
        return isTaken;
      },
      random: () => numbers[asked.random++ % numbers.length] as number,
    });
    return { ...asked, ip: choice && formatIp(choice.ip) };
  };
  t.same(
    choose((last) => last === 20n),
    { ip: '10.1.0.20', one: 11, all: 0, random: 0 },
    'near: one by one',
  );
  t.same(
    choose((last) => last > 0xbff0n && last < 0xc010n),
    { ip: '10.1.191.255', one: 66, all: 0, random: 2 },
    'far: wherever a look falls on a free one',
  );
  t.same(
    choose((last) => last === 5n),
    { ip: '10.1.0.5', one: 64 + 512, all: 1, random: 512 },
    'the last one: all are gone through',
  );
  t.same(
    choose(() => false),
    { ip: undefined, one: 64 + 512, all: 1, random: 512 },
  );
});

const a = { containerId: 'a', ifname: 'eth0' };
const b = { containerId: 'b', ifname: 'eth0' };

t.test('leases on disk', async (t) => {
  const dir = t.testdir();
  const store = new DiskStore(dir, 'boot-1');
  store.sweep();
  t.ok(store.reserve(a, [ip('10.1.0.2'), ip('fd00::2')]));
  t.equal(
    readFileSync(join(dir, '10.1.0.2'), 'utf8'),
    'a\r\neth0',
    'byte for byte what the reference compares with',
  );
  t.ok(existsSync(join(dir, 'fd00::2')));
  t.equal(readFileSync(join(dir, 'last_reserved_ip.1'), 'utf8'), 'fd00::2');
  t.match(store.find(a), {
    containerId: 'a',
    ifname: 'eth0',
    ips: ['10.1.0.2', 'fd00::2'],
    bootId: 'boot-1',
    time: /^\d{4}-.*Z$/,
  });
  t.notOk(store.reserve(b, [ip('10.1.0.3'), ip('fd00::2')]), 'one is taken: none is kept');
  t.notOk(store.isTaken(ip('10.1.0.3')));
  t.equal(store.find(b), undefined);
  t.same(store.release(b), []);
  t.ok(store.holds(a, ip('10.1.0.2')));
  t.same(store.release(a), ['10.1.0.2', 'fd00::2']);
  t.same(store.release(a), [], 'twice');
  t.same(store.taken(), []);
  t.same(readdirSync(join(dir, '.podwire')), ['boot'], 'nothing else is left');
});

t.test("the reference's leases", async (t) => {
  const dir = t.testdir({ '10.1.0.2': 'go\r\neth0', '10.1.0.3': 'old', '10.1.0.4': '', lock: '' });
  const store = new DiskStore(dir, 'boot-1');
  t.ok(store.isTaken(ip('10.1.0.2')));
  t.same(store.owners(), [
    { containerId: 'go', ifname: 'eth0' },
    { containerId: 'old', ifname: '' },
  ]);
  t.same(store.release({ containerId: 'go', ifname: 'eth1' }), []);
  t.same(store.release({ containerId: 'go', ifname: 'eth0' }), ['10.1.0.2']);
  t.same(store.release({ containerId: 'old', ifname: 'eth0' }), ['10.1.0.3']);
  t.ok(store.isTaken(ip('10.1.0.4')));
});

t.test('a new boot frees what an earlier one leased, and nothing else', async (t) => {
  const dir = t.testdir({ '10.1.0.9': 'go\r\neth0' });
  const before = new DiskStore(dir, 'boot-1');
  before.sweep();
  before.reserve(a, [ip('10.1.0.2')]);
  const after = new DiskStore(dir, 'boot-2');
  t.notOk(after.isSwept());
  after.sweep();
  t.ok(after.isSwept());
  t.same(after.taken().map(formatIp), ['10.1.0.9'], 'a lease that tells no boot is left to GC');
});

t.test('a record cut short does not keep DEL from finding the lease', async (t) => {
  const dir = t.testdir();
  const store = new DiskStore(dir, 'boot-1');
  store.sweep();
  store.reserve(a, [ip('10.1.0.2')]);
  const [file = ''] = readdirSync(join(dir, '.podwire')).filter((name) => name.endsWith('.json'));
  writeFileSync(join(dir, '.podwire', file), '{"containerId":');
  t.same(store.release(a), ['10.1.0.2']);
});

t.test('lease', async (t) => {
  const dir = t.testdir();
  mkdirSync(join(dir, '.podwire'));
  const store = new DiskStore(dir, 'boot-1');
  const small = conf({ ranges: [[{ subnet: '10.1.0.0/30' }]] });
  t.same(
    lease(small, store, a).map((choice) => formatIp(choice.ip)),
    ['10.1.0.2'],
  );
  t.throws(() => lease(small, store, a), { cniCode: 101, message: /a eth0.*10\.1\.0\.2/ });
  t.throws(() => lease(small, store, b), {
    cniCode: 100,
    message: 'no free address in range 10.1.0.1-10.1.0.2',
  });
  store.release(a);
  t.throws(() => lease({ ...small, requested: [ip('10.1.0.1')] }, store, b), {
    cniCode: 102,
    message: /gateway/,
  });
  t.throws(() => lease({ ...small, requested: [ip('10.7.0.1')] }, store, b), {
    cniCode: 102,
    message: /10\.7\.0\.1/,
  });
  t.same(store.taken(), [], 'a refusal takes nothing');
});

t.test('a lease lost to another is chosen again', async (t) => {
  const dir = t.testdir();
  mkdirSync(join(dir, '.podwire'));
  const real = new DiskStore(dir, 'boot-1');
  let stolen = false;
  const racing = new Proxy(real, {
    get(target, key) {
      if (key === 'reserve')
        return (owner: typeof a, ips: Ip[]) => {
          if (!stolen) real.reserve(b, ips);
          stolen = true;
          return real.reserve(owner, ips);
        };
      const value = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  t.same(
    lease(conf({ subnet: '10.1.0.0/24' }), racing, a).map((choice) => formatIp(choice.ip)),
    ['10.1.0.3'],
  );
  t.ok(real.holds(b, ip('10.1.0.2')));
});

const dense = 60_000;
t.test(`${dense} leases in a /16`, async (t) => {
  const dir = t.testdir();
  let looks = 0;
  let scans = 0;
  class CountingStore extends DiskStore {
    override isTaken(one: Ip): boolean {
      looks++;
      return super.isTaken(one);
    }
    override allTaken(): (one: Ip) => boolean {
      scans++;
      return super.allTaken();
    }
  }
  const store = new CountingStore(dir, 'boot-1');
  store.sweep();
  const wide = conf({ subnet: '10.1.0.0/16' });
  const [set] = wide.sets;
  writeFileSync(join(dir, 'held'), 'other\r\neth0');
  for (let n = 2n; n < BigInt(dense) + 2n; n++)
    linkSync(join(dir, 'held'), join(dir, formatIp({ family: 4, value: ip('10.1.0.0').value + n })));
  t.equal(store.taken().length, dense);
  const found = new Set<string>();
  for (let n = 0; n < 50; n++) {
    // As bad as it can be: the hint of where to look next lies at the start of them all.
    writeFileSync(join(dir, 'last_reserved_ip.0'), '10.1.0.2');
    const [choice] = lease(wide, store, { containerId: `c${n}`, ifname: 'eth0' });
    found.add(formatIp(choice?.ip as Ip));
  }
  t.equal(found.size, 50, 'fifty different ones');
  for (const one of found) t.ok(inRange((set as RangeSet)[0], ip(one)));
  t.equal(scans, 0, 'the folder of sixty thousand is never read');
  t.ok(looks < 50 * 150, `${looks} looks: 64 in a row, then about twelve at random`);
  t.same(store.release({ containerId: 'c0', ifname: 'eth0' }).length, 1);
});

t.test('what a killed ADD left goes with DEL, and with the next boot', async (t) => {
  const dir = t.testdir();
  const store = new DiskStore(dir, 'boot-1');
  store.sweep();
  const left = () => readdirSync(join(dir, '.podwire')).filter((name) => name !== 'boot');
  store.reserve(a, [ip('10.1.0.2')]);
  const [record = ''] = left();
  for (const name of [`${record}.tmp`, `${record}.lease`]) writeFileSync(join(dir, '.podwire', name), '');
  store.release(a);
  t.same(left(), []);
  for (const name of ['x.json.tmp', 'x.json.lease', 'boot.tmp'])
    writeFileSync(join(dir, '.podwire', name), '');
  new DiskStore(dir, 'boot-2').sweep();
  t.same(left(), []);
});

t.test('resolv.conf', async (t) => {
  const text =
    '# made by hand\nnameserver 10.0.0.1\nnameserver fd00::1 ; second\ndomain a.b\nsearch x y\nsearch z\noptions ndots:5 rotate\n';
  t.same(parseResolvConf(text), {
    nameservers: ['10.0.0.1', 'fd00::1'],
    domain: 'a.b',
    search: ['z'],
    options: ['ndots:5', 'rotate'],
  });
  t.same(parseResolvConf(''), {});
});

t.test('errors are CNI errors', async (t) => {
  t.ok(new CniError(100, 'x').code === 'CNI_PLUGIN');
});
