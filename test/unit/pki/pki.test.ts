// Certificates as openssl-alike readers see them, tokens, validity.
import { createPublicKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  checkClocks,
  checkValidity,
  groups,
  hashOfCertificate,
  newKey,
  PkiError,
  renewalTime,
  validityOf,
} from '../../../lib/pki/certificate.ts';
import { readKeyPair, writeKeyPair } from '../../../lib/pki/files.ts';
import { servingFirst } from '../../../lib/pki/membership.ts';
import {
  createCa,
  createRequest,
  isSignedBy,
  issueCertificate,
  issueKeyPair,
  keyOfRequest,
} from '../../../lib/pki/issue.ts';
import {
  formatToken,
  hashOfSecret,
  isSecretOf,
  newTokenSecret,
  parseToken,
} from '../../../lib/pki/join-token.ts';
import { identityOfPeer, theNode } from '../../../lib/pki/peer.ts';
import { joinServer, splitServer } from '../../../lib/pki/server-address.ts';

t.test('a CA signs what Node and OpenSSL accept', async (t) => {
  const ca = await createCa();
  const node = { name: 'system:node:two', groups: [groups.nodes] };
  const { cert } = await issueKeyPair(ca, { identity: node, hosts: ['two', '10.0.0.2', 'fd00::2'] });
  const read = new X509Certificate(cert);
  t.ok(new X509Certificate(ca.cert).ca);
  t.notOk(read.ca);
  t.ok(isSignedBy(cert, ca.cert));
  t.ok(read.checkIssued(new X509Certificate(ca.cert)), 'issuer and key id match');
  t.equal(read.checkHost('two'), 'two');
  t.equal(read.checkIP('10.0.0.2'), '10.0.0.2');
  t.ok(read.checkIP('fd00::2'));
  t.same(read.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  const identity = identityOfPeer(read.toLegacyObject() as never);
  t.same(identity, node);
  t.ok(theNode('two').matches(identity));
  t.notOk(theNode('on').matches(identity));
  t.notOk(isSignedBy(cert, (await createCa()).cert));
});

t.test('nothing outlives the CA', async (t) => {
  const ca = await createCa({ lifeMs: 60_000 });
  const { cert } = await issueKeyPair(ca, { identity: { name: 'a', groups: [] } });
  t.equal(validityOf(cert).until.getTime(), validityOf(ca.cert).until.getTime());
});

t.test('a request proves its key, and asks for nothing else', async (t) => {
  const ca = await createCa();
  const key = newKey();
  const request = await createRequest(key);
  const publicKey = await keyOfRequest(request);
  t.equal(publicKey, createPublicKey(key).export({ type: 'spki', format: 'pem' }));
  const cert = await issueCertificate(ca, { identity: { name: 'x', groups: ['g'] }, publicKey });
  t.match(new X509Certificate(cert).subject, /O=g\nCN=x/);
  const other = await createRequest(newKey());
  const [head, ...lines] = request.trim().split('\n');
  const broken = [head, ...lines.slice(0, -2), other.trim().split('\n').at(-2), lines.at(-1)].join('\n');
  for (const bad of [broken, '', 'text', undefined, 7, 'x'.repeat(9000)])
    await t.rejects(keyOfRequest(bad), { code: 'BAD_CERTIFICATE_REQUEST' });
});

t.test('validity names both clocks', async (t) => {
  const hour = 3_600_000;
  const now = Date.UTC(2026, 0, 2);
  const validity = { from: new Date(now - hour), until: new Date(now + hour) };
  const what = 'the certificate of node two';
  t.equal(checkValidity(validity, { what, now }), undefined);
  const issued = new Date(now - 300_000);
  t.equal(renewalTime({ from: issued, until: new Date(now + 3 * hour) }), now + 2 * hour);
  t.throws(() => checkValidity(validity, { what, now: now + 2 * hour, serverNow: now }), {
    code: 'CERTIFICATE_EXPIRED',
    message:
      /node two expired at 2026-01-02T01:00:00Z, and this machine's clock says 2026-01-02T02:00:00Z, the server's clock 2026-01-02T00:00:00Z/,
  });
  t.throws(() => checkValidity(validity, { what, now: now - 2 * hour }), {
    code: 'CERTIFICATE_NOT_YET_VALID',
    message: /valid only from 2026-01-01T23:00:00Z, and this machine's clock says 2026-01-01T22:00:00Z/,
  });
  t.equal(checkClocks(now, now + 299_000), undefined);
  for (const other of [now + hour, now - hour])
    t.throws(() => checkClocks(now, other), { code: 'CLOCKS_DIFFER', message: /60 min/ });
});

t.test('tokens', async (t) => {
  const caHash = hashOfCertificate((await createCa()).cert);
  const token = { servers: ['10.0.0.1:6443', '[fd00::1]:6443', 'one.lab:7443'], caHash, ...newTokenSecret() };
  const text = formatToken(token);
  t.same(parseToken(` ${text}\n`), token);
  const of = (value: object): string => formatToken(value as never);
  const cases = [
    ['empty', '', /must begin with "pw1."/],
    ['another word', 'K10abc::server:def', /must begin with "pw1."/],
    ['its end is missing', text.slice(0, -3), /cut off or mistyped/],
    ['its middle is missing', text.slice(0, 20) + text.slice(30), /cut off or mistyped/],
    ['its head alone', 'pw1.', /cut off or mistyped/],
    ['one letter differs', text.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')), /cut off or mistyped/],
    ['something follows', `${text}.x`, /cut off or mistyped/],
    ['no server', of({ ...token, servers: [] }), /not one of this version/],
    ['a server that is none', of({ ...token, servers: ['10.0.0.1'] }), /not one of this version/],
    ['an id that is a path', of({ ...token, id: '../../aa' }), /not one of this version/],
    ['a hash of another length', of({ ...token, caHash: 'ab' }), /not one of this version/],
  ] as const;
  for (const [name, bad, message] of cases)
    t.throws(() => parseToken(bad), { code: 'BAD_TOKEN', message }, name);
  const hash = hashOfSecret(token.secret);
  t.ok(isSecretOf(token.secret, hash));
  t.notOk(isSecretOf(`${token.secret}x`, hash));
  t.notOk(isSecretOf(token.secret, 'short'));
});

t.test('server addresses', async (t) => {
  for (const [host, port, text] of [
    ['10.0.0.1', 6443, '10.0.0.1:6443'],
    ['fd00::1', 6443, '[fd00::1]:6443'],
    ['one.lab', 1, 'one.lab:1'],
  ] as const) {
    t.same(splitServer(text), { host, port });
    t.equal(joinServer(host, port), text);
  }
  for (const bad of [
    '',
    'a',
    'a:',
    'a:0',
    'a:65536',
    'fd00::1:6443',
    '[a]:1',
    'a b:1',
    'a/b:1',
    '[10.0.0.1]:1',
  ])
    t.equal(splitServer(bad), undefined, bad);
});

t.test('files', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'podwire-pki-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'pki/ca.pem');
  t.equal(readKeyPair(path), undefined);
  const ca = await createCa();
  writeKeyPair(path, ca);
  const read = readKeyPair(path)!;
  t.equal(read.key.trim(), ca.key.trim());
  t.equal(hashOfCertificate(read.cert), hashOfCertificate(ca.cert));
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(statSync(join(folder, 'pki')).mode & 0o777, 0o700);
  writeFileSync(path, ca.cert);
  t.throws(() => readKeyPair(path), PkiError);
});

t.test(
  'the server that answered is kept and asked first, whatever servers say of their addresses',
  async (t) => {
    const told = ['10.0.0.1:6443', '10.0.0.2:6443'];
    t.strictSame(servingFirst(told, '10.0.0.2:6443'), ['10.0.0.2:6443', '10.0.0.1:6443']);
    t.strictSame(servingFirst(told, '10.0.0.9:6443'), ['10.0.0.9:6443', ...told], 'none of them says so');
    t.strictSame(servingFirst(told, undefined), told);
  },
);
