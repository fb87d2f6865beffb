// Which store the API stands on: SQLite in the node's own file, or an etcd that several servers share (--datastore).
// Assumes the flags as they were given or remembered. etcd's client is loaded only when it is asked for.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import { type EtcdAddress, parseEtcdAddress } from '../../lib/store/etcd/endpoints.ts';
import { openSqliteStore } from '../../lib/store/sqlite.ts';
import type { Store } from '../../lib/store/store.ts';

export interface DatastoreFlags {
  /** `sqlite`, or an etcd's address; absent (of an older start): sqlite. */
  readonly datastore?: string;
  /** PEM files. */
  readonly datastoreCa?: string;
  readonly datastoreCert?: string;
  readonly datastoreKey?: string;
}

export type Datastore =
  | { readonly kind: 'sqlite' }
  | ({
      readonly kind: 'etcd';
      readonly files: { readonly ca?: string; readonly cert?: string; readonly key?: string };
    } & EtcdAddress);

/** What the flags mean together. Pure. @throws PodwireError DATASTORE_INVALID */
export function parseDatastore(flags: DatastoreFlags): Datastore {
  const { datastore = 'sqlite', datastoreCa: ca, datastoreCert: cert, datastoreKey: key } = flags;
  const files = { ...(ca ? { ca } : {}), ...(cert ? { cert } : {}), ...(key ? { key } : {}) };
  const given = Object.keys(files).map((name) => `--datastore-${name}`);
  if (datastore === 'sqlite') {
    if (given.length > 0)
      throw invalid(`${given.join(', ')}: only an etcd has certificates; give --datastore`);
    return { kind: 'sqlite' };
  }
  const address = parseEtcdAddress(datastore);
  if (!address.tls && given.length > 0)
    throw invalid(`${given.join(', ')}: --datastore ${datastore} is without TLS; write etcds://…`);
  if ((cert === undefined) !== (key === undefined))
    throw invalid(
      `${given.join(', ')}: a certificate and its key go together (--datastore-cert, --datastore-key)`,
    );
  return { kind: 'etcd', files, ...address };
}

const invalid = (message: string): PodwireError => new PodwireError('DATASTORE_INVALID', message);

/**
 * Refuses another store while this node runs Pods of the former one: the kubelet would take them for strangers.
 * Other endpoints of an etcd are the same store. @throws PodwireError DATASTORE_IN_USE
 */
export function checkDatastoreChange(
  paths: NodePaths,
  former: DatastoreFlags | undefined,
  next: Datastore,
): void {
  if (former === undefined || identityOf(parseDatastore(former)) === identityOf(next)) return;
  const pods = existsSync(paths.sandboxes) ? readdirSync(paths.sandboxes).length : 0;
  if (pods === 0) return;
  throw new PodwireError(
    'DATASTORE_IN_USE',
    `--datastore: ${pods} Pods of this node are kept in ${former.datastore ?? 'sqlite'}; start with that, or remove them first (podwire down --pods)`,
  );
}

const identityOf = (store: Datastore): string => (store.kind === 'etcd' ? `etcd ${store.prefix}` : 'sqlite');

/** @throws PodwireError DATASTORE_UNREACHABLE, DATASTORE_TLS, DATASTORE_INVALID; StoreError as openSqliteStore. */
export async function openDatastore(datastore: Datastore, paths: NodePaths, log: Logger): Promise<Store> {
  if (datastore.kind === 'sqlite')
    return openSqliteStore({
      path: join(paths.state, 'store.db'),
      onError: (error) => log.error({ err: error }, `store: ${messageOf(error)}`),
    });
  const { files, ...address } = datastore;
  const contents = {
    ca: files.ca && readPem('--datastore-ca', files.ca),
    cert: files.cert && readPem('--datastore-cert', files.cert),
    key: files.key && readPem('--datastore-key', files.key),
  };
  const { openEtcdStore } = await import('../../lib/store/etcd/etcd.ts');
  const started = performance.now();
  const store = await openEtcdStore({
    ...address,
    files: contents as Record<string, Buffer>,
    onWarning: (message) => log.warn(message),
  });
  const ms = Math.round(performance.now() - started);
  log.info({ endpoints: address.endpoints, prefix: address.prefix, ms }, 'the store is etcd');
  return store;
}

function readPem(flag: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new PodwireError('DATASTORE_INVALID', `${flag} ${path}: cannot be read (${messageOf(cause)})`, {
      cause,
    });
  }
}
