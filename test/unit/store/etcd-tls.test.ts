// etcd over mutual TLS: who has the right certificates works with it, everybody else is told what is wrong.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { KeyPair } from '../../../lib/pki/certificate.ts';
import { createCa, issueKeyPair } from '../../../lib/pki/issue.ts';
import type { TlsFiles } from '../../../lib/store/etcd/connection.ts';
import { openEtcdStore } from '../../../lib/store/etcd/etcd.ts';
import { startEtcd, whyNoEtcd } from '../../etcd/cluster.ts';

const skip = whyNoEtcd();
if (skip) t.comment(`etcd over TLS is not tested: ${skip}`);

t.test('mutual TLS', { skip }, async (t) => {
  const folder = t.testdir();
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  const identity = { name: 'etcd', groups: [] };
  const [ca, foreign] = [await createCa(), await createCa({ name: 'another' })];
  const server = await issueKeyPair(ca, { identity, hosts: ['127.0.0.1', 'localhost'] });
  const elsewhere = await issueKeyPair(ca, { identity, hosts: ['10.9.9.9'] });
  const client = await issueKeyPair(ca, { identity: { name: 'server', groups: [] } });
  const stranger = await issueKeyPair(foreign, { identity: { name: 'server', groups: [] } });
  const start = (name: string, { cert, key }: KeyPair) =>
    startEtcd(1, {
      ca: file('ca.pem', ca.cert),
      cert: file(`${name}.pem`, cert), // etcd reads it anew for each connection
      key: file(`${name}-key.pem`, key),
    });
  const etcd = await start('server', server);
  const misnamed = await start('elsewhere', elsewhere);
  t.teardown(async () => {
    await etcd.stop();
    await misnamed.stop();
  });
  const open = (endpoints: readonly string[], files: Record<string, string>, tls = true) => {
    const buffers = Object.fromEntries(
      Object.entries(files).map(([name, text]) => [name, Buffer.from(text)]),
    );
    return openEtcdStore({
      endpoints,
      tls,
      prefix: '/p',
      files: buffers as TlsFiles,
      attemptMs: 30_000,
      callMs: 0,
    });
  };
  const good = { ca: ca.cert, ...client };

  await t.test('with everything right', async (t) => {
    const port = etcd.endpoints[0]!.split(':')[1];
    for (const endpoint of [etcd.endpoints[0]!, `localhost:${port}`]) {
      const store = await open([endpoint], good);
      const made = await store.create(`/${endpoint}`, '1');
      t.strictSame(await store.get(`/${endpoint}`), made);
      await store.close();
    }
  });

  const code = 'DATASTORE_UNREACHABLE';
  const cases = [
    {
      name: 'another CA',
      endpoints: etcd.endpoints,
      files: { ...good, ca: foreign.cert },
      code,
      says: /certificate/,
    },
    {
      name: 'no certificate',
      endpoints: etcd.endpoints,
      files: { ca: ca.cert },
      code,
      says: /certificate|closed|reset/i,
    },
    {
      name: "a stranger's",
      endpoints: etcd.endpoints,
      files: { ca: ca.cert, ...stranger },
      code,
      says: /certificate|closed|reset/i,
    },
    {
      name: 'a member of another name',
      endpoints: misnamed.endpoints,
      files: good,
      code,
      says: /altnames.*10\.9\.9\.9/,
    },
    {
      name: 'no PEM',
      endpoints: etcd.endpoints,
      files: { ca: 'x', cert: 'y', key: 'z' },
      code: 'DATASTORE_TLS',
      says: /--datastore-ca/,
    },
    {
      name: 'another key',
      endpoints: etcd.endpoints,
      files: { ...good, key: stranger.key },
      code: 'DATASTORE_TLS',
      says: /--datastore-key/,
    },
  ];
  for (const c of cases)
    await t.test(c.name, async (t) =>
      t.rejects(open(c.endpoints, c.files), { code: c.code, message: c.says }),
    );
  await t.test('without TLS', async (t) => t.rejects(open(etcd.endpoints, {}, false), { code }));
});
