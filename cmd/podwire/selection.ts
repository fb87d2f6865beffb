// Which objects a verb acts on: by file, by name, by label, or all of a type.
// Assumes names are checked by the server. One list call a resource type where a selector is used.
import type { Client } from '../../lib/api/client.ts';
import type { Context } from './context.ts';
import { UsageError } from './errors.ts';
import { parseManifests, readSources } from './manifest.ts';
import { parseTargets, type ResourceInfo, resourceOfManifest } from './resources.ts';

export interface SelectionOptions {
  filename?: string[];
  recursive?: boolean;
  selector?: string;
  fieldSelector?: string;
  all?: boolean;
}

export interface Selected {
  readonly info: ResourceInfo;
  readonly namespace: string | undefined;
  readonly name: string;
  /** Where a manifest named it; absent for the command line. */
  readonly where?: string;
}

/** The named or found objects, in order. @throws UsageError when nothing says which */
export async function select(
  context: Context,
  client: Client,
  args: readonly string[],
  options: SelectionOptions,
): Promise<Selected[]> {
  if (options.filename && options.filename.length > 0) return fromFiles(context, options);
  const targets = parseTargets(args);
  const chosen: Selected[] = [];
  for (const { info, name } of targets) {
    if (name !== undefined)
      chosen.push({ info, namespace: info.namespaced ? context.namespace : undefined, name });
    else if (options.all || options.selector || options.fieldSelector)
      chosen.push(...(await fromList(context, client, info, options)));
    else
      throw new UsageError(
        'resource(s) were provided, but no name was specified (or use --all, or -l SELECTOR)',
      );
  }
  return chosen;
}

function fromFiles(context: Context, options: SelectionOptions): Selected[] {
  return readSources(options.filename ?? [], options)
    .flatMap(parseManifests)
    .map((entry) => {
      if ('error' in entry) throw entry.error;
      const info = resourceOfManifest(entry.manifest);
      const { name, namespace } = entry.manifest.metadata;
      if (name === undefined) throw new UsageError(`${entry.where}: metadata.name is missing`);
      return {
        info,
        namespace: info.namespaced ? (namespace ?? context.namespace) : undefined,
        name,
        where: entry.where,
      };
    });
}

async function fromList(
  context: Context,
  client: Client,
  info: ResourceInfo,
  options: SelectionOptions,
): Promise<Selected[]> {
  const { items } = await client.list(info.resource, {
    namespace: info.namespaced && !context.allNamespaces ? context.namespace : undefined,
    labelSelector: options.selector,
    fieldSelector: options.fieldSelector,
  });
  return items.map(({ metadata }) => ({ info, namespace: metadata.namespace, name: metadata.name }));
}
