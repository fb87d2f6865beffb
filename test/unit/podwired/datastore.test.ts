// What --datastore and its certificates mean, and what is refused with which words.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkDatastoreChange, parseDatastore } from '../../../cmd/podwired/datastore.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { parseEtcdAddress } from '../../../lib/store/etcd/endpoints.ts';

const addresses = [
  { text: 'etcd://a', endpoints: ['a:2379'], tls: false, prefix: '/podwire' },
  { text: 'etcd://10.0.0.1:1,b:2,[::1]:3', endpoints: ['10.0.0.1:1', 'b:2', '[::1]:3'], tls: false },
  { text: 'etcds://a,b,a', endpoints: ['a:2379', 'b:2379'], tls: true },
  { text: 'etcd://a,b/lab/one/', endpoints: ['a:2379', 'b:2379'], tls: false, prefix: '/lab/one' },
  { text: 'https://a:1,https://b:2', endpoints: ['a:1', 'b:2'], tls: true, prefix: '/podwire' },
  { text: 'http://a:1/', endpoints: ['a:1'], tls: false, prefix: '/podwire' },
];
for (const { text, ...expected } of addresses)
  t.test(text, async (t) => t.match(parseEtcdAddress(text), expected));

const refused = [
  { text: 'a:2379', says: /not the address of an etcd/ },
  { text: 'mysql://a', says: /not the address of an etcd/ },
  { text: 'etcd://', says: /"" is no HOST:PORT/ },
  { text: 'etcd://a,,b', says: /"" is no HOST:PORT/ },
  { text: 'etcd://a:99999', says: /"a:99999" is no HOST:PORT/ },
  { text: 'etcd://user:secret@a', says: /users and passwords are not supported/ },
  { text: 'https://a,http://b', says: /http:\/\/b does not begin with https:\/\// },
  { text: 'etcd://a/../x', says: /no prefix/ },
  { text: 'etcd://a/b//c', says: /no prefix/ },
];
for (const { text, says } of refused)
  t.test(text, async (t) => {
    t.throws(() => parseEtcdAddress(text), { code: 'DATASTORE_INVALID', message: says });
    t.throws(() => parseEtcdAddress(text), { message: /etcd:\/\/HOST:PORT/ }, 'and how it is written');
  });

t.test('flags together', async (t) => {
  t.strictSame(parseDatastore({}), { kind: 'sqlite' });
  t.match(parseDatastore({ datastore: 'etcds://a', datastoreCa: '/ca' }), {
    kind: 'etcd',
    files: { ca: '/ca' },
  });
  const cases = [
    { flags: { datastoreCa: '/ca' }, says: /--datastore-ca: only an etcd/ },
    { flags: { datastore: 'etcd://a', datastoreCa: '/ca' }, says: /without TLS; write etcds/ },
    {
      flags: { datastore: 'etcds://a', datastoreCert: '/c' },
      says: /--datastore-cert: a certificate and its key/,
    },
    {
      flags: { datastore: 'etcds://a', datastoreKey: '/k' },
      says: /--datastore-key: a certificate and its key/,
    },
  ];
  for (const { flags, says } of cases)
    t.throws(() => parseDatastore(flags), { code: 'DATASTORE_INVALID', message: says });
});

t.test('another store is refused while Pods run', async (t) => {
  const paths = nodePaths(t.testdir());
  const former = { datastore: 'etcd://a,b' };
  const check = (datastore: string): void =>
    checkDatastoreChange(paths, former, parseDatastore({ datastore }));
  check('sqlite');
  mkdirSync(join(paths.sandboxes, 'one'), { recursive: true });
  check('etcd://b,c,d'); // members come and go
  checkDatastoreChange(paths, undefined, { kind: 'sqlite' });
  for (const datastore of ['sqlite', 'etcd://a,b/other'])
    t.throws(() => check(datastore), { code: 'DATASTORE_IN_USE', message: /1 Pods .* kept in etcd:\/\/a,b/ });
});
