import t from 'tap';
import type { PodSandboxConfig } from '../../../lib/container/cri.ts';
import { hostsFile, parseResolvConf, resolvConf } from '../../../lib/sandbox/etc-files.ts';
import { newSandboxId } from '../../../lib/sandbox/record.ts';

const config = (over: object = {}): PodSandboxConfig => ({
  namespace: 'default',
  name: 'web',
  uid: 'u',
  attempt: 0,
  hostname: 'web',
  dns: { servers: [], searches: [], options: [] },
  hostAliases: [],
  portMappings: [],
  annotations: {},
  namespaces: { network: 'pod', ipc: 'pod', pid: 'container' },
  sysctls: {},
  resources: {},
  ...over,
});

t.test('a Pod with a subdomain has a full name', async (t) => {
  const fqdn = 'web.db.default.svc.cluster.local';
  t.match(hostsFile(config({ fqdn }), ['10.244.0.2'], ''), `10.244.0.2\t${fqdn}\tweb\n`);
  t.match(hostsFile(config({ fqdn, hostname: fqdn }), ['10.244.0.2'], ''), `10.244.0.2\t${fqdn}\tweb\n`);
});

t.test('/etc/hosts of a Pod names it', async (t) => {
  const text = hostsFile(
    config({ hostAliases: [{ ip: '10.0.0.1', hostnames: ['a', 'b'] }] }),
    ['10.244.0.2'],
    'ignored',
  );
  t.match(text, /^127\.0\.0\.1\tlocalhost$/m);
  t.match(text, /^10\.244\.0\.2\tweb$/m);
  t.match(text, /^10\.0\.0\.1\ta\tb$/m);
  t.notMatch(text, /ignored/);
});

t.test("with the machine's network it is the machine's, plus aliases", async (t) => {
  const text = hostsFile(
    config({ namespaces: { network: 'node', ipc: 'pod', pid: 'container' } }),
    [],
    '127.0.0.1 here\n',
  );
  t.match(text, /^127\.0\.0\.1 here$/m);
});

t.test('resolv.conf there and back', async (t) => {
  const dns = { servers: ['1.1.1.1', '2.2.2.2'], searches: ['a.b', 'c'], options: ['ndots:5'] };
  t.same(parseResolvConf(`# comment\n${resolvConf(dns)}`), dns);
});

t.test('sandbox ids are short, safe and different', async (t) => {
  const id = newSandboxId(`${'long-name.'.repeat(20)}`);
  t.match(id, /^[a-z0-9][a-z0-9.-]*-[0-9a-f]{10}$/);
  t.ok(id.length <= 51);
  t.not(newSandboxId('a'), newSandboxId('a'));
});
