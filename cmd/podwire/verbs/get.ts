// `podwire get`: lists, shows and watches objects as tables or as they are.
// Assumes the columns of lib/api/table.ts, computed here from the objects. A watch prints a row an event.
import type { Client } from '../../../lib/api/client.ts';
import { columns as allColumns, cellsOf } from '../../../lib/api/table.ts';
import type { ApiObject, Kinds, Resource } from '../../../lib/api/types.ts';
import { type Context, listNamespace, untilInterrupted } from '../context.ts';
import { describeError, ExitWith, socketErrno, UsageError } from '../errors.ts';
import { asList, renderObject } from '../print/object.ts';
import { type Output, parseOutput } from '../print/output.ts';
import { columnWidths, renderRow, renderTable } from '../print/text.ts';
import { parseTargets, type ResourceInfo, resourceOfManifest } from '../resources.ts';
import { parseManifests, readSources } from '../manifest.ts';

export interface GetOptions {
  output?: string;
  watch?: boolean;
  selector?: string;
  fieldSelector?: string;
  noHeaders?: boolean;
  showLabels?: boolean;
  ignoreNotFound?: boolean;
  filename?: string[];
  recursive?: boolean;
}

/** Objects of one resource that are shown in one table. */
interface Group {
  readonly info: ResourceInfo;
  readonly items: ApiObject[];
  /** Named one by one: an empty group is then no "No resources found". */
  readonly named: boolean;
  readonly resourceVersion: string;
}

export async function runGet(context: Context, args: readonly string[], options: GetOptions): Promise<void> {
  const output: Output =
    options.output === undefined
      ? { type: 'table' }
      : parseOutput(options.output, ['wide', 'json', 'yaml', 'name', 'jsonpath']);
  const client = await context.client();
  const { groups, failures } = await fetchGroups(context, client, args, options);
  if (failures > 0 && options.watch) throw new ExitWith(1);
  if (options.watch) return watch(context, client, groups, { options, output });
  await show(context, groups, { options, output });
  if (failures > 0) throw new ExitWith(1);
}

async function fetchGroups(
  context: Context,
  client: Client,
  args: readonly string[],
  options: GetOptions,
): Promise<{ groups: Group[]; failures: number }> {
  const targets = options.filename ? fileTargets(context, options) : parseTargets(args);
  const groups: Group[] = [];
  let failures = 0;
  for (const target of targets) {
    const { info, name } = target;
    if (name === undefined) {
      groups.push(await listGroup(context, client, info, options));
      continue;
    }
    try {
      if (context.allNamespaces)
        throw new UsageError('a resource cannot be retrieved by name across all namespaces');
      const namespace = 'namespace' in target ? (target.namespace as string) : context.namespace;
      const object = await client.get(info.resource, {
        namespace: info.namespaced ? namespace : undefined,
        name,
      });
      const last = groups.at(-1);
      if (last?.named && last.info.resource === info.resource) last.items.push(object);
      else
        groups.push({ info, items: [object], named: true, resourceVersion: object.metadata.resourceVersion });
    } catch (error) {
      if (socketErrno(error) || error instanceof UsageError) throw error;
      if (options.ignoreNotFound && (error as { code?: string }).code === 'NotFound') continue;
      failures++;
      context.err(`${describeError(error, { socket: context.socket })}\n`);
    }
  }
  return { groups, failures };
}

function fileTargets(
  context: Context,
  options: GetOptions,
): Array<{ info: ResourceInfo; name: string; namespace: string }> {
  return readSources(options.filename!, options)
    .flatMap(parseManifests)
    .map((entry) => {
      if ('error' in entry) throw entry.error;
      const { name = '', namespace = context.namespace } = entry.manifest.metadata;
      return { info: resourceOfManifest(entry.manifest), name, namespace };
    });
}

async function listGroup(
  context: Context,
  client: Client,
  info: ResourceInfo,
  options: GetOptions,
): Promise<Group> {
  const { items, resourceVersion } = await client.list(info.resource, selection(context, info, options));
  return { info, items: [...items].sort(byPlace), named: false, resourceVersion };
}

function selection(
  context: Context,
  info: ResourceInfo,
  options: GetOptions,
): { namespace: string | undefined; labelSelector: string | undefined; fieldSelector: string | undefined } {
  const namespace = info.namespaced ? listNamespace(context) : undefined;
  return { namespace, labelSelector: options.selector, fieldSelector: options.fieldSelector };
}

function byPlace(a: ApiObject, b: ApiObject): number {
  const key = ({ kind, metadata }: ApiObject): string =>
    kind === 'Event' ? (metadata.creationTimestamp ?? '') : `${metadata.namespace ?? ''}/${metadata.name}`;
  return key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0;
}

interface Shape {
  readonly options: GetOptions;
  readonly output: Output;
}

async function show(context: Context, groups: readonly Group[], shape: Shape): Promise<void> {
  const { output, options } = shape;
  const items = groups.flatMap((group) => group.items);
  if (output.type === 'json' || output.type === 'yaml' || output.type === 'jsonpath') {
    const single = groups.length === 1 && groups[0]!.named && items.length === 1;
    if (items.length === 0 && groups.every((group) => group.named)) return;
    context.out(await renderObject(single ? items[0] : asList(items), output));
    return;
  }
  if (output.type === 'name') {
    for (const { info, items: own } of groups)
      for (const item of own) context.out(`${info.singular}/${item.metadata.name}\n`);
    return;
  }
  const filled = groups.filter((group) => group.items.length > 0);
  if (filled.length === 0 && groups.some((group) => !group.named) && !options.ignoreNotFound)
    context.err(nothingFound(context, groups));
  const several = filled.length > 1;
  context.out(
    filled.map((group) => groupTable(context, group, { ...shape, several, now: Date.now() })).join('\n'),
  );
}

function nothingFound(context: Context, groups: readonly Group[]): string {
  const namespaced = groups.some((group) => group.info.namespaced);
  return !namespaced || context.allNamespaces
    ? 'No resources found\n'
    : `No resources found in ${context.namespace} namespace.\n`;
}

type TableShape = Shape & { readonly several: boolean; readonly now: number };

function groupTable(context: Context, group: Group, shape: TableShape): string {
  const rows = group.items.map((item) => tableRow(context, group.info, item, shape));
  return renderTable(tableHeader(context, group.info, shape), rows, {
    noHeaders: shape.options.noHeaders === true,
  });
}

function tableHeader(context: Context, info: ResourceInfo, { output, options }: TableShape): string[] {
  const shown = allColumns[info.resource].filter((column) => column.priority === 0 || output.type === 'wide');
  const names = shown.map((column) => column.name.toUpperCase());
  return [...placeColumn(context, info, 'NAMESPACE'), ...names, ...(options.showLabels ? ['LABELS'] : [])];
}

function tableRow(context: Context, info: ResourceInfo, item: ApiObject, shape: TableShape): string[] {
  const { output, options, several, now } = shape;
  const definitions = allColumns[info.resource];
  const cells = cellsOf(info.resource, item as Kinds[Resource], now).map((cell, at) =>
    several && at === 0 && definitions[0]!.name === 'Name' ? `${info.singular}/${cell}` : String(cell),
  );
  const shown = cells.filter((_, at) => definitions[at]!.priority === 0 || output.type === 'wide');
  const labels = Object.entries(item.metadata.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return [
    ...placeColumn(context, info, item.metadata.namespace ?? ''),
    ...shown,
    ...(options.showLabels ? [labels.join(',') || '<none>'] : []),
  ];
}

const placeColumn = (context: Context, info: ResourceInfo, text: string): string[] =>
  context.allNamespaces && info.namespaced ? [text] : [];

/** Prints what there is, then a row (or an object) for every change until interrupted. */
async function watch(
  context: Context,
  client: Client,
  groups: readonly Group[],
  shape: Shape,
): Promise<void> {
  const [group] = groups;
  if (!group || groups.length > 1 || (group.named && group.items.length > 1))
    throw new UsageError('you may only specify a single resource type, or a single name, with --watch');
  const print = printer(context, group, shape);
  for (const item of group.items) await print(item);
  const chosen = selection(context, group.info, shape.options);
  const events = client.watch(group.info.resource, {
    ...chosen,
    ...(group.named ? { fieldSelector: `metadata.name=${group.items[0]!.metadata.name}` } : {}),
    resourceVersion: group.resourceVersion,
    signal: untilInterrupted(),
  });
  for await (const event of events) if (event.type !== 'BOOKMARK') await print(event.object as ApiObject);
}

/** One object at a time, in columns that only grow; the header comes with the first row. */
function printer(context: Context, group: Group, shape: Shape): (item: ApiObject) => void | Promise<void> {
  const { options, output } = shape;
  const { info } = group;
  if (output.type === 'name') return (item) => context.out(`${info.singular}/${item.metadata.name}\n`);
  if (output.type !== 'table' && output.type !== 'wide')
    return async (item) => context.out(await renderObject(item, output));
  const row = (item: ApiObject): string[] =>
    tableRow(context, info, item, { ...shape, several: false, now: Date.now() });
  const header = tableHeader(context, info, { ...shape, several: false, now: 0 });
  let widths = columnWidths([header, ...group.items.map(row)]);
  let headed = options.noHeaders === true;
  return (item) => {
    const cells = row(item);
    widths = widths.map((width, at) => Math.max(width, cells[at]?.length ?? 0));
    if (!headed) context.out(`${renderRow(header, widths)}\n`);
    headed = true;
    context.out(`${renderRow(cells, widths)}\n`);
  };
}
