// This server as other machines see it: the cluster's CA, its own certificate, the TLS port, and what all must know.
// Assumes a single machine opens nothing until a person asks for it (podwire token create, or --listen), and that what
// was asked for holds for later starts.
import { X509Certificate } from 'node:crypto';
import { hostname, networkInterfaces } from 'node:os';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { ApiError, isReason } from '../../lib/api/errors.ts';
import type { Listening, TlsListener } from '../../lib/apiserver/app.ts';
import { ensureCa, readCa } from '../../lib/apiserver/access/cluster-ca.ts';
import { nodeCertificate } from '../../lib/apiserver/access/join.ts';
import type { Registry } from '../../lib/apiserver/registry/registry.ts';
import type { ClusterFace, OpenRequest } from '../../lib/apiserver/routes-cluster.ts';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import {
  type Credentials,
  groups,
  type KeyPair,
  newKey,
  renewalTime,
  validityOf,
  yearMs,
} from '../../lib/pki/certificate.ts';
import { readKeyPair, writeKeyPair } from '../../lib/pki/files.ts';
import { isSignedBy, issueKeyPair } from '../../lib/pki/issue.ts';
import { identityOfPeer, theNode } from '../../lib/pki/peer.ts';
import { joinServer, splitServer } from '../../lib/pki/server-address.ts';
import type { ClusterFlags } from './cluster-flags.ts';
import { hasAddress } from './node-facts.ts';
import { keepRenewed } from './renewal.ts';

export interface ClusterAccessOptions {
  readonly paths: NodePaths;
  readonly nodeName: string;
  readonly nodeIp: string;
  readonly flags: ClusterFlags & { readonly nodeIp?: string };
  readonly settings: object;
  readonly registry: Registry;
  /** Keeps for later starts what a person asked for. */
  readonly remember: (opened: OpenRequest) => void;
  readonly log: Logger;
}

const defaultPort = 6443;
const serversKey = { namespace: 'kube-system', name: 'podwire-servers' };

export class ClusterAccess implements ClusterFace {
  readonly #options: ClusterAccessOptions;
  readonly #stop = new AbortController();
  #api: Listening | undefined;
  #nodePort: Listening | undefined;
  #ca: KeyPair | undefined;
  #credentials: Credentials | undefined;
  #listener: TlsListener | undefined;
  #advertise: string | undefined;
  #openedNodePort = 0;
  #opening: Promise<unknown> = Promise.resolve();

  constructor(options: ClusterAccessOptions) {
    this.#options = options;
    this.#advertise = options.flags.advertiseAddress;
  }

  get ca(): KeyPair | undefined {
    return this.#ca;
  }

  get nodeLifeMs(): number {
    return (this.#options.flags.certificateTtl ?? yearMs / 1000) * 1000;
  }

  /** This server's own; undefined while it is on its own. */
  credentials(): Credentials | undefined {
    return this.#credentials;
  }

  /** 0 while it is not open. */
  nodePort(): number {
    return this.#openedNodePort;
  }

  /** Hands in what is to listen, and opens what a person asked for at an earlier start. */
  async start(api: Listening, nodePort: Listening): Promise<void> {
    this.#api = api;
    this.#nodePort = nodePort;
    const { flags, registry, log } = this.#options;
    if (flags.listen !== undefined) await this.open({ listen: flags.listen });
    else if (await readCa(registry)) {
      // Another server of this store, or this one before its flags were forgotten, has made it a cluster.
      await this.open({}).catch((error) =>
        log.warn({ err: error }, `not open to other machines: ${messageOf(error)}`),
      );
    }
  }

  open(where: OpenRequest): Promise<KeyPair> {
    const done = this.#opening.then(() => this.#open(where));
    this.#opening = done.catch(() => {});
    return done;
  }

  ownAddresses(): readonly string[] {
    const { host, port } = this.#listener ?? { host: '', port: defaultPort };
    if (this.#advertise !== undefined) return [joinServer(this.#advertise, port)];
    if (host !== '' && !isAny(host)) return [joinServer(host, port)];
    const { nodeIp } = this.#options;
    const others = hostAddresses().filter((address) => address !== nodeIp);
    return [nodeIp, ...others].map((address) => joinServer(address, port));
  }

  get remark(): string | undefined {
    const { nodeIp, flags } = this.#options;
    const isMeant = flags.nodeIp !== undefined || this.#advertise === undefined;
    if (this.#advertise !== undefined && !hasAddress(this.#advertise))
      return `no link of this machine has ${this.#advertise}: right only where NAT leads from it to here; podwire token create --advertise-address changes it`;
    if (isMeant || this.#advertise === nodeIp) return undefined;
    return `this node's own address is still ${nodeIp}, where other nodes would look for its Pods: podwire down && podwire up makes it ${this.#advertise}`;
  }

  async settings() {
    const { registry } = this.#options;
    const own = this.ownAddresses();
    const nodes = new Set((await registry.list('nodes')).items.map(({ metadata }) => metadata.name));
    const known = Object.entries((await this.#readServers())?.data ?? {})
      .filter(([name]) => nodes.has(name)) // a server that was removed is asked no more
      .flatMap(([, line]) => line.split(','));
    return { ...this.#options.settings, servers: [...new Set([...own, ...known])] };
  }

  close(): void {
    this.#stop.abort();
  }

  async #open({ listen, advertiseAddress }: OpenRequest): Promise<KeyPair> {
    const { registry, paths, remember, log } = this.#options;
    if (advertiseAddress !== undefined && isIP(advertiseAddress) === 0)
      throw new ApiError('BadRequest', `--advertise-address ${advertiseAddress}: expected an IP address`);
    const at = listen === undefined ? undefined : parseListen(listen);
    if (this.#ca && this.#listener) return this.#reopen(this.#ca, { at, advertiseAddress });
    if (!this.#api) throw new ApiError('ServiceUnavailable', 'podwired is still starting');
    this.#advertise = advertiseAddress ?? this.#advertise;
    const ca = await ensureCa(registry, paths.pki);
    this.#credentials = { ...(await this.#serverPair(ca)), ca: ca.cert };
    const where = at ?? { host: '', port: defaultPort };
    this.#listener = await listenAnywhere(this.#api, where, this.#credentials).catch(asConflict);
    this.#ca = ca;
    await this.#openNodePort(ca);
    await this.#publish();
    remember({
      listen: joinListen(at?.host ?? '', this.#listener.port),
      ...(this.#advertise === undefined ? {} : { advertiseAddress: this.#advertise }),
    });
    keepRenewed({
      what: "the server's certificate",
      current: () => this.#credentials!.cert,
      renew: () => this.#renew(ca),
      log,
      signal: this.#stop.signal,
    });
    log.info({ servers: this.ownAddresses() }, 'the API is open to other machines');
    return ca;
  }

  /** It is open already: only what it is called may change. */
  async #reopen(
    ca: KeyPair,
    {
      at,
      advertiseAddress,
    }: { at: { host: string; port: number } | undefined; advertiseAddress?: string | undefined },
  ): Promise<KeyPair> {
    const { host, port } = this.#listener!;
    if (at && (at.port !== port || (at.host !== '' && at.host !== host)))
      throw new ApiError(
        'Conflict',
        `the API listens on ${joinListen(isAny(host) ? '' : host, port)} already: podwire down && podwire up --listen ${joinListen(at.host, at.port)}`,
      );
    if (advertiseAddress === undefined || advertiseAddress === this.#advertise) return ca;
    this.#advertise = advertiseAddress;
    await this.#renew(ca);
    await this.#publish();
    this.#options.remember({ listen: joinListen(isAny(host) ? '' : host, port), advertiseAddress });
    return ca;
  }

  async #renew(ca: KeyPair): Promise<void> {
    this.#credentials = { ...(await this.#serverPair(ca)), ca: ca.cert };
    this.#listener?.renew(this.#credentials);
  }

  /** The pair of the last start where it still does, else a new one. */
  async #serverPair(ca: KeyPair): Promise<KeyPair> {
    const { paths, nodeName, nodeIp } = this.#options;
    const file = join(paths.pki, 'server.pem');
    const hosts = [
      ...new Set([nodeIp, '127.0.0.1', '::1', 'localhost', hostname().toLowerCase(), nodeName]),
      ...hostAddresses(),
      ...(this.#advertise === undefined ? [] : [this.#advertise]),
    ];
    const wanted = [...new Set(hosts)];
    const found = readKeyPair(file);
    if (found && stillGood(found.cert, ca, wanted)) return found;
    const identity = { name: `podwire:server:${nodeName}`, groups: [groups.servers] };
    const pair = await issueKeyPair(ca, { identity, hosts: wanted, lifeMs: this.nodeLifeMs });
    writeKeyPair(file, pair);
    return pair;
  }

  /** Other servers reach this machine's Pods by it, as they reach any node's. */
  async #openNodePort(ca: KeyPair): Promise<void> {
    const { flags, log } = this.#options;
    const pair = await this.#nodePair(ca);
    try {
      const at = { host: '', port: flags.nodePort };
      const { port } = await listenAnywhere(this.#nodePort!, at, { ...pair, ca: ca.cert });
      this.#openedNodePort = port;
    } catch (error) {
      log.warn({ err: error }, `other servers cannot reach this node's logs: ${messageOf(error)}`);
    }
  }

  async #nodePair(ca: KeyPair): Promise<KeyPair> {
    const { nodeName, paths } = this.#options;
    const file = join(paths.pki, 'own-node.pem');
    const found = readKeyPair(file);
    if (found && stillGood(found.cert, ca, []) && isOf(found.cert, nodeName)) return found;
    const key = newKey();
    const pair = {
      cert: await nodeCertificate({ ca, lifeMs: 10 * yearMs, publicKey: key }, { name: nodeName }),
      key,
    };
    writeKeyPair(file, pair);
    return pair;
  }

  async #readServers() {
    try {
      return await this.#options.registry.get('configmaps', serversKey);
    } catch (error) {
      if (isReason(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  async #publish(): Promise<void> {
    const { registry, nodeName } = this.#options;
    const data = { [nodeName]: this.ownAddresses().join(',') };
    if (await this.#readServers()) await registry.patch('configmaps', serversKey, { data });
    else await registry.create('configmaps', { metadata: serversKey, data });
  }
}

/** What a person who opens the port can mend. */
function asConflict(error: unknown): never {
  if (!(error instanceof PodwireError)) throw error;
  throw new ApiError(
    'Conflict',
    `${error.message}: give another one with --listen, e.g. --listen :7443`,
    undefined,
    {
      cause: error,
    },
  );
}

function stillGood(pem: string, ca: KeyPair, hosts: readonly string[]): boolean {
  const cert = new X509Certificate(pem);
  const covered = hosts.every(
    (host) => (isIP(host) ? cert.checkIP(host) : cert.checkHost(host)) !== undefined,
  );
  return covered && isSignedBy(pem, ca.cert) && Date.now() < renewalTime(validityOf(pem));
}

const isOf = (pem: string, nodeName: string): boolean =>
  theNode(nodeName).matches(identityOfPeer(new X509Certificate(pem).toLegacyObject()));

const isAny = (host: string): boolean => host === '' || host === '::' || host === '0.0.0.0';

/** On every address of both families; where there is no IPv6, of IPv4. */
export async function listenAnywhere(
  what: Listening,
  { host, port }: { host: string; port: number },
  credentials: Credentials,
): Promise<TlsListener> {
  if (!isAny(host)) return what.listenTls({ host, port }, credentials);
  try {
    return await what.listenTls({ host: '::', port }, credentials);
  } catch (error) {
    if (!(error instanceof PodwireError) || error.code === 'PORT_IN_USE') throw error;
    return what.listenTls({ host: '0.0.0.0', port }, credentials);
  }
}

/** `:6443`, `10.0.0.1:6443`, `[fd00::1]:6443`, `10.0.0.1`. @throws ApiError BadRequest */
function parseListen(text: string): { host: string; port: number } {
  const withPort = /^\d+$/.test(text) ? `:${text}` : text;
  const full = isIP(withPort) ? joinServer(withPort, defaultPort) : withPort;
  const parts = splitServer(full.startsWith(':') ? `0.0.0.0${full}` : full);
  if (parts && isIP(parts.host)) return { host: isAny(parts.host) ? '' : parts.host, port: parts.port };
  throw new ApiError(
    'BadRequest',
    `--listen ${text}: expected ADDRESS:PORT or :PORT, e.g. 192.168.56.10:6443`,
  );
}

const joinListen = (host: string, port: number): string =>
  host === '' ? `:${port}` : joinServer(host, port);

/** Addresses that another machine might reach this one by: not loopback, not link-local, not of bridges of Pods. */
function hostAddresses(): string[] {
  const inner = /^(lo|pw|podwire|veth|docker|br-|cni|podman|virbr|flannel|cilium)/;
  return Object.entries(networkInterfaces())
    .filter(([name]) => !inner.test(name))
    .flatMap(([, addresses]) => addresses ?? [])
    .filter(({ internal, scopeid, family }) => !internal && (family === 'IPv4' || !scopeid))
    .map(({ address }) => address);
}
