// The names by which a person calls resources (po, pod, pods, pod/web) and how they are addressed over REST.
// Assumes the resources of lib/api/resources.ts. Pure.
import { findResource, groupPath, type ResourceInfo, resources } from '../../lib/api/resources.ts';
import { UsageError } from './errors.ts';
import type { Manifest } from './manifest.ts';

export type { ResourceInfo };

/** What `all` means. */
const everyday = Object.values(resources).flatMap((info) =>
  info.categories?.includes('all') ? [info.resource] : [],
);

export interface Target {
  readonly info: ResourceInfo;
  /** Absent: every object of that resource. */
  readonly name?: string;
}

export function resourceInfo(name: string): ResourceInfo {
  const found = findResource(name);
  if (!found) throw new UsageError(`the server doesn't have a resource type "${name}"`);
  return found;
}

/** The resource of a manifest's kind. */
export function resourceOfManifest(manifest: Pick<Manifest, 'kind' | 'apiVersion'>): ResourceInfo {
  const found = Object.values(resources).find((each) => each.kind === manifest.kind);
  if (!found || manifest.apiVersion !== found.apiVersion)
    throw new UsageError(`no matches for kind "${manifest.kind}" in version "${manifest.apiVersion}"`);
  return found;
}

/** `pods`, `pods,nodes`, `pod web db`, `pod/web node/n1` → targets, in the order they were named. */
export function parseTargets(args: readonly string[]): Target[] {
  const [first, ...names] = args;
  if (first === undefined) throw new UsageError('You must specify the type of resource, e.g. pods');
  if (args.some((arg) => arg.includes('/'))) return args.map(parseSlash);
  const infos = first.split(',').flatMap((type) => (type === 'all' ? everyday : [type]).map(resourceInfo));
  if (names.length === 0) return infos.map((info) => ({ info }));
  return infos.flatMap((info) => names.map((name) => ({ info, name })));
}

function parseSlash(arg: string): Target {
  const [type, name, ...more] = arg.split('/');
  if (!type || !name || more.length > 0)
    throw new UsageError(
      `arguments in resource/name form must have a single resource and name; found "${arg}"`,
    );
  return { info: resourceInfo(type), name };
}

/** `web` or `pod/web` → `web`, for verbs that act on a Pod. */
export function podName(arg: string): string {
  if (!arg.includes('/')) return arg;
  const { info, name } = parseSlash(arg);
  if (info.resource !== 'pods') throw new UsageError(`"${arg}" is no Pod`);
  return name!;
}

/** The REST path of a resource, or of one object. */
export function restPath(info: ResourceInfo, key: { namespace?: string; name?: string }): string {
  const parts = [groupPath(info.apiVersion)];
  if (info.namespaced && key.namespace !== undefined)
    parts.push('namespaces', encodeURIComponent(key.namespace));
  parts.push(info.resource);
  if (key.name !== undefined) parts.push(encodeURIComponent(key.name));
  return parts.join('/');
}
