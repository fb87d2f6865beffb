// `podwire patch`: changes fields of objects by a patch given as JSON or YAML, as kubectl does.
// Assumes the server judges the patch. One request an object.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { PatchOptions } from '../../../lib/api/client.ts';
import { messageOf } from '../../../lib/exec/errors.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { select } from '../selection.ts';

export interface PatchVerbOptions {
  patch?: string;
  patchFile?: string;
  type: NonNullable<PatchOptions['type']>;
  subresource?: NonNullable<PatchOptions['subresource']>;
}

export async function runPatch(
  context: Context,
  args: readonly string[],
  options: PatchVerbOptions,
): Promise<void> {
  const patch = readPatch(options);
  const client = await context.client();
  for (const { info, namespace, name } of await select(context, client, args, {})) {
    const key = { namespace, name };
    const before = await client.get(info.resource, key);
    const { type, subresource } = options;
    const how = { type, ...(subresource ? { subresource } : {}) };
    const after = await client.patch(info.resource, key, patch, how);
    const isSame = after.metadata.resourceVersion === before.metadata.resourceVersion;
    context.out(`${info.singular}/${name} patched${isSame ? ' (no change)' : ''}\n`);
  }
}

/** @throws UsageError */
export function readPatch({ patch, patchFile, type }: PatchVerbOptions): object {
  if ((patch === undefined) === (patchFile === undefined))
    throw new UsageError('must specify one of --patch and --patch-file');
  let value: unknown;
  try {
    value = parse(patch ?? readFileSync(patchFile as string, 'utf8'));
  } catch (error) {
    throw new UsageError(`unable to read the patch: ${messageOf(error)}`);
  }
  const isRight = type === 'json' ? Array.isArray(value) : typeof value === 'object' && !Array.isArray(value);
  if (!isRight || value === null)
    throw new UsageError(`the patch must be ${type === 'json' ? 'a list of operations' : 'an object'}`);
  return value as object;
}
