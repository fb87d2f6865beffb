// `podwire create configmap` and `podwire create secret generic`: keys and values from flags and files, as kubectl.
// Assumes the server validates keys and sizes. A file is read whole; a folder gives its plain files.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isUtf8 } from 'node:buffer';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import type { Manifest } from '../manifest.ts';
import { type ApplyOptions, createManifest } from './apply.ts';

export interface DataOptions extends Omit<ApplyOptions, 'filename' | 'recursive'> {
  fromLiteral?: string[];
  fromFile?: string[];
  type?: string;
}

export async function runCreateConfigMap(
  context: Context,
  name: string,
  options: DataOptions,
): Promise<void> {
  const data: Record<string, string> = {};
  const binaryData: Record<string, string> = {};
  for (const [key, bytes] of dataOf(options))
    if (isUtf8(bytes)) data[key] = bytes.toString();
    else binaryData[key] = bytes.toString('base64');
  const binary = Object.keys(binaryData).length > 0 ? { binaryData } : {};
  await create(
    context,
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data, ...binary },
    options,
  );
}

export async function runCreateSecret(
  context: Context,
  kind: string,
  name: string,
  options: DataOptions,
): Promise<void> {
  if (kind !== 'generic')
    throw new UsageError(`secret kind "${kind}": expected generic (others by: podwire apply -f FILE)`);
  const data = Object.fromEntries(
    [...dataOf(options)].map(([key, bytes]) => [key, bytes.toString('base64')]),
  );
  const type = options.type ?? 'Opaque';
  await create(context, { apiVersion: 'v1', kind: 'Secret', metadata: { name }, type, data }, options);
}

const create = (context: Context, manifest: object, options: DataOptions): Promise<void> =>
  createManifest(context, manifest as Manifest, options);

/** Key → bytes, from the files first, then the literals. @throws UsageError naming the flag */
export function dataOf({ fromFile = [], fromLiteral = [] }: DataOptions): Map<string, Buffer> {
  const data = new Map<string, Buffer>();
  const put = (key: string, bytes: Buffer): void => {
    if (data.has(key)) throw new UsageError(`cannot add key "${key}": it is given twice`);
    data.set(key, bytes);
  };
  for (const source of fromFile) for (const [key, path] of filesOf(source)) put(key, readFileSync(path));
  for (const literal of fromLiteral) {
    const equals = literal.indexOf('=');
    if (equals < 1) throw new UsageError('--from-literal: expected KEY=VALUE');
    put(literal.slice(0, equals), Buffer.from(literal.slice(equals + 1)));
  }
  return data;
}

/** KEY=FILE, FILE, or a folder whose plain files are keys. */
function filesOf(source: string): [key: string, path: string][] {
  const equals = source.indexOf('=');
  const path = source.slice(equals + 1);
  if (path === '' || equals === 0)
    throw new UsageError(`--from-file ${source}: expected FILE, KEY=FILE or a folder`);
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) throw new UsageError(`--from-file ${source}: ${path} does not exist`);
  if (!stats.isDirectory()) return [[equals > 0 ? source.slice(0, equals) : basename(path), path]];
  if (equals > 0) throw new UsageError(`--from-file ${source}: a folder cannot have one key`);
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => [entry.name, join(path, entry.name)]);
}
