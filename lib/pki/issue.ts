// Makes certificates and requests for them; @peculiar/x509 is loaded with the first one made (30 ms, 10 MB).
// Assumes ECDSA P-256 with SHA-256 throughout. Sources: RFC 5280, RFC 2986. 2-5 ms a certificate.
import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { lazily } from './lazily.ts';
import {
  clockToleranceMs,
  type Identity,
  type KeyPair,
  newKey,
  newSerial,
  PkiError,
  yearMs,
} from './certificate.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

const loadX509 = lazily(async () => {
  await import('reflect-metadata'); // tsyringe under x509 needs it first
  return import('@peculiar/x509');
});

const cryptoKey = (key: KeyObject, usage: 'sign' | 'verify'): Promise<CryptoKey> | CryptoKey =>
  key.toCryptoKey(algorithm, true, [usage]) as unknown as CryptoKey;

const privateKey = (pem: string): Promise<CryptoKey> | CryptoKey => cryptoKey(createPrivateKey(pem), 'sign');

const nameOf = ({ name, groups }: Identity) => [...groups.map((group) => ({ O: [group] })), { CN: [name] }];

/** A CA of its own: self-signed, for nothing but signing. */
export async function createCa(
  options: { name?: string; now?: number; lifeMs?: number } = {},
): Promise<KeyPair> {
  const { name = 'podwire-ca', now = Date.now(), lifeMs = 10 * yearMs } = options;
  const x509 = await loadX509();
  const key = newKey();
  const keys = {
    privateKey: await privateKey(key),
    publicKey: await cryptoKey(createPublicKey(key), 'verify'),
  };
  const usages = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: nameOf({ name, groups: [] }),
    notBefore: new Date(now - clockToleranceMs),
    notAfter: new Date(now + lifeMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(usages, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: `${certificate.toString('pem')}\n`, key };
}

export interface CertificateInput {
  readonly identity: Identity;
  /** SPKI or certificate-request key, PEM. */
  readonly publicKey: string;
  /** Names and addresses by which its holder is reached; left out for a mere client, [] for who is known by its subject. */
  readonly hosts?: readonly string[];
  readonly now?: number;
  readonly lifeMs?: number;
}

/** A certificate for server and client use, signed by the CA; never outlives it. PEM. */
export async function issueCertificate(ca: KeyPair, input: CertificateInput): Promise<string> {
  const { identity, publicKey, hosts, now = Date.now(), lifeMs = yearMs } = input;
  const x509 = await loadX509();
  const issuer = new x509.X509Certificate(ca.cert);
  const subjectKey = await cryptoKey(createPublicKey(publicKey), 'verify');
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const names = (hosts ?? []).map((host) => ({
    type: isIP(host) ? ('ip' as const) : ('dns' as const),
    value: host,
  }));
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: nameOf(identity),
    issuer: issuer.subjectName.toJSON(),
    notBefore: new Date(now - clockToleranceMs),
    notAfter: new Date(Math.min(now + lifeMs, issuer.notAfter.getTime())),
    publicKey: subjectKey,
    signingKey: await privateKey(ca.key),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(hosts ? [serverAuth, clientAuth] : [clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(subjectKey),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

/** A fresh key and its certificate. */
export async function issueKeyPair(
  ca: KeyPair,
  input: Omit<CertificateInput, 'publicKey'>,
): Promise<KeyPair> {
  const key = newKey();
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
  return { cert: await issueCertificate(ca, { ...input, publicKey }), key };
}

/** A PKCS#10 request for the key, PEM: proof that who asks holds the private key. */
export async function createRequest(key: string): Promise<string> {
  const x509 = await loadX509();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    // The name is the server's to choose: it knows who asks.
    name: nameOf({ name: 'podwire', groups: [] }),
    signingAlgorithm: algorithm,
    keys: {
      privateKey: await privateKey(key),
      publicKey: await cryptoKey(createPublicKey(key), 'verify'),
    },
  });
  return `${request.toString('pem')}\n`;
}

/** The public key of a request whose signature is good, SPKI PEM. @throws PkiError BAD_CERTIFICATE_REQUEST */
export async function keyOfRequest(pem: unknown): Promise<string> {
  const x509 = await loadX509();
  try {
    if (typeof pem !== 'string' || pem.length > 8192) throw new Error('expected a PEM text');
    const request = new x509.Pkcs10CertificateRequest(pem);
    if (!(await request.verify())) throw new Error('its signature is not that of its key');
    const key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' });
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new Error('expected a key on P-256');
    return key.export({ type: 'spki', format: 'pem' }).toString();
  } catch (cause) {
    throw new PkiError(
      'BAD_CERTIFICATE_REQUEST',
      `the certificate request is not usable: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** True for a certificate that this CA signed. */
export const isSignedBy = (pem: string, ca: string): boolean =>
  new X509Certificate(pem).verify(new X509Certificate(ca).publicKey);
