// The address of an etcd cluster as a person writes it: etcd://HOST[:PORT],HOST[:PORT][/PREFIX]; etcds:// or https:// for TLS.
// Assumes nothing of the text. Pure.
import { PodwireError } from '../../exec/errors.ts';

export interface EtcdAddress {
  /** `host:port` each, IPv6 in brackets. */
  readonly endpoints: readonly string[];
  readonly tls: boolean;
  /** What stands before every key: `/podwire` unless told; clusters with different prefixes can share one etcd. */
  readonly prefix: string;
}

const defaultPort = 2379;
const schemes: Readonly<Record<string, boolean>> = { etcd: false, http: false, etcds: true, https: true };

const bad = (text: string, why: string): PodwireError =>
  new PodwireError(
    'DATASTORE_INVALID',
    `--datastore ${text}: ${why}; write it as etcd://HOST:PORT,HOST:PORT, or etcds://… for TLS`,
  );

/** @throws PodwireError DATASTORE_INVALID. */
export function parseEtcdAddress(text: string): EtcdAddress {
  const [, scheme, hosts, path = ''] = /^([a-z]+):\/\/([^/]*)(\/.*)?$/.exec(text) ?? [];
  const tls = scheme === undefined ? undefined : schemes[scheme];
  if (tls === undefined || hosts === undefined) throw bad(text, 'not the address of an etcd');
  const endpoints: string[] = [];
  let prefix = path;
  // The form with a scheme before each (https://a:2379,https://b:2379) is split at the second one's `//`.
  const all = `${hosts}${path}`.includes('://')
    ? text.split(',').map((one) => {
        const prefixed = `${scheme}://`;
        if (!one.startsWith(prefixed)) throw bad(text, `${one} does not begin with ${prefixed}`);
        prefix = '';
        return one.slice(prefixed.length).replace(/\/$/, '');
      })
    : hosts.split(',');
  for (const one of all) endpoints.push(parseEndpoint(text, one));
  prefix = prefix.replace(/\/+$/, '');
  if (prefix !== '' && !/^(\/[A-Za-z0-9][A-Za-z0-9._-]*)+$/.test(prefix))
    throw bad(text, `${prefix} is no prefix (letters, digits, ".", "_", "-")`);
  return { endpoints: [...new Set(endpoints)], tls, prefix: prefix || '/podwire' };
}

function parseEndpoint(text: string, one: string): string {
  if (one.includes('@')) throw bad(text, 'users and passwords are not supported; use client certificates');
  const [, host, port = String(defaultPort)] =
    /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(one) ?? [];
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535)
    throw bad(text, `${JSON.stringify(one)} is no HOST:PORT`);
  return `${host}:${port}`;
}
