// `podwire apply` and `podwire create`: manifests become objects, one after the other in the order they were written.
// Assumes the server validates. One bad object does not stop the others; the exit code tells.
import type { Client } from '../../../lib/api/client.ts';
import { ApiError, isReason } from '../../../lib/api/errors.ts';
import { applyPatch, lastApplied, withLastApplied } from '../apply-patch.ts';
import type { Context } from '../context.ts';
import { describeError, ExitWith, socketErrno, UsageError } from '../errors.ts';
import { readJson } from '../http.ts';
import { type Manifest, parseManifests, readSources } from '../manifest.ts';
import { asList, renderObject } from '../print/object.ts';
import { parseOutput } from '../print/output.ts';
import { type ResourceInfo, resourceOfManifest, restPath } from '../resources.ts';

export interface ApplyOptions {
  filename?: string[];
  recursive?: boolean;
  dryRun?: string;
  output?: string;
}

type Outcome = 'created' | 'configured' | 'unchanged';
type DryRun = 'none' | 'client' | 'server';

interface Work {
  readonly context: Context;
  readonly client: Client;
  readonly dryRun: DryRun;
}

export const runApply = (context: Context, options: ApplyOptions): Promise<void> =>
  runEach(context, options, applyOne);

export const runCreate = (context: Context, options: ApplyOptions): Promise<void> =>
  runEach(context, options, createOne);

type One = (
  work: Work,
  manifest: Manifest,
  info: ResourceInfo,
) => Promise<{ outcome: Outcome; object: unknown }>;

/** One object that was put together from flags. */
export const createManifest = (context: Context, manifest: Manifest, options: ApplyOptions): Promise<void> =>
  performEach(context, [{ manifest, where: 'flags' }], { options, one: createOne });

async function runEach(context: Context, options: ApplyOptions, one: One): Promise<void> {
  const entries = readSources(required(options.filename), options).flatMap(parseManifests);
  if (entries.length === 0) throw new UsageError('no objects passed: the files and folders given hold none');
  await performEach(context, entries, { options, one });
}

async function performEach(
  context: Context,
  entries: ReturnType<typeof parseManifests>,
  { options, one }: { options: ApplyOptions; one: One },
): Promise<void> {
  const work = { context, client: await context.client(), dryRun: dryRunOf(options.dryRun) };
  const format =
    options.output === undefined
      ? undefined
      : parseOutput(options.output, ['json', 'yaml', 'name', 'jsonpath']);
  const done: unknown[] = [];
  let failures = 0;
  for (const entry of entries) {
    try {
      if ('error' in entry) throw entry.error;
      const info = resourceOfManifest(entry.manifest);
      const { outcome, object } = await one(work, placed(entry.manifest, info, context), info);
      if (format === undefined || format.type === 'name')
        context.out(`${resultLine(object, info, work.dryRun, format ? '' : outcome)}\n`);
      else done.push(object);
    } catch (error) {
      if (socketErrno(error)) throw error;
      failures++;
      const about = 'error' in entry ? undefined : entry.where;
      context.err(`${describeError(error, { socket: context.socket, ...(about ? { about } : {}) })}\n`);
    }
  }
  if (format && format.type !== 'name' && done.length > 0)
    context.out(await renderObject(done.length === 1 ? done[0] : asList(done), format));
  if (failures > 0) throw new ExitWith(1);
}

function required(files: readonly string[] | undefined): readonly string[] {
  if (!files || files.length === 0)
    throw new UsageError('must specify a file: -f FILE, -f DIR, or -f - for standard input');
  return files;
}

function dryRunOf(value: string | undefined): DryRun {
  if (value === undefined || value === 'none') return 'none';
  if (value === 'client' || value === 'server') return value;
  throw new UsageError(`invalid dry-run value (${value}): must be "none", "server", or "client"`);
}

function resultLine(object: unknown, info: ResourceInfo, dryRun: DryRun, outcome: string): string {
  const { name } = (object as Manifest).metadata;
  const how =
    outcome === '' || dryRun === 'none' ? '' : dryRun === 'server' ? ' (server dry run)' : ' (dry run)';
  return `${info.singular}/${name}${outcome ? ` ${outcome}` : ''}${how}`;
}

/** The manifest with its namespace: its own, else the command line's. */
function placed(manifest: Manifest, info: ResourceInfo, context: Context): Manifest {
  if (!info.namespaced) return manifest;
  return {
    ...manifest,
    metadata: { ...manifest.metadata, namespace: manifest.metadata.namespace ?? context.namespace },
  };
}

async function createOne(work: Work, manifest: Manifest, info: ResourceInfo): ReturnType<One> {
  if (work.dryRun === 'client') return { outcome: 'created', object: manifest };
  if (work.dryRun === 'server') return { outcome: 'created', object: await dryCreate(work, manifest, info) };
  const { namespace } = manifest.metadata;
  return { outcome: 'created', object: await work.client.create(info.resource, manifest, { namespace }) };
}

function dryCreate(work: Work, manifest: Manifest, info: ResourceInfo): Promise<unknown> {
  const path = restPath(info, namespaceOnly(manifest));
  return readJson(work.context.socket, path, { method: 'POST', body: manifest, query: { dryRun: 'All' } });
}

const namespaceOnly = (manifest: Manifest): { namespace?: string } =>
  manifest.metadata.namespace === undefined ? {} : { namespace: manifest.metadata.namespace };

async function applyOne(work: Work, manifest: Manifest, info: ResourceInfo): ReturnType<One> {
  const { name, namespace } = manifest.metadata;
  if (name === undefined)
    throw new UsageError('metadata.name is missing: apply cannot use generateName (use create)');
  const wanted = withLastApplied(manifest);
  const live = await liveObject(work, info, { namespace, name });
  if (!live) return createOne(work, wanted, info);
  if (live.metadata?.deletionTimestamp)
    throw new ApiError(
      'Conflict',
      `${info.singular} "${name}" is being deleted: apply it again when it is gone`,
    );
  const patch = applyPatch(withoutNoise(lastApplied(live)), withoutNoise(wanted), live);
  if (!patch) return { outcome: 'unchanged', object: live };
  if (work.dryRun === 'client') return { outcome: 'configured', object: wanted };
  if (work.dryRun === 'server')
    return { outcome: 'configured', object: await dryPatch(work, manifest, info, patch) };
  return {
    outcome: 'configured',
    object: await work.client.patch(info.resource, { namespace, name }, patch),
  };
}

interface Live {
  metadata?: { deletionTimestamp?: string; annotations?: Record<string, string> };
  [key: string]: unknown;
}

async function liveObject(
  work: Work,
  info: ResourceInfo,
  key: { namespace: string | undefined; name: string },
): Promise<Live | undefined> {
  try {
    return (await work.client.get(info.resource, key)) as unknown as Live;
  } catch (error) {
    if (isReason(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** What a merge must not touch: the status, and what names the object. */
function withoutNoise(object: Record<string, unknown>): Record<string, unknown> {
  const { status: _status, apiVersion: _version, kind: _kind, ...rest } = object;
  const metadata = rest.metadata as Record<string, unknown> | undefined;
  if (!metadata) return rest;
  const { creationTimestamp: _time, name: _name, namespace: _namespace, ...kept } = metadata;
  return { ...rest, metadata: kept };
}

function dryPatch(work: Work, manifest: Manifest, info: ResourceInfo, patch: object): Promise<unknown> {
  const path = restPath(info, { ...namespaceOnly(manifest), name: manifest.metadata.name! });
  return readJson(work.context.socket, path, {
    method: 'PATCH',
    body: patch,
    contentType: 'application/merge-patch+json',
    query: { dryRun: 'All' },
  });
}
