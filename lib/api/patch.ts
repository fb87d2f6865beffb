// The three patches of the API: JSON merge (RFC 7386), strategic merge (Kubernetes), JSON patch (RFC 6902).
// Assumes JSON values; never changes its arguments, shares what did not change. O(document).
// Source of the merge keys: the patchMergeKey marks in k8s.io/api/core/v1/types.go.
import { ApiError } from './errors.ts';

export type PatchType = 'merge' | 'strategic' | 'json';
type Json = Record<string, unknown>;

/** Applies a patch of one type. @throws ApiError BadRequest or Invalid when the patch cannot be applied. */
export function applyPatch(target: object, patch: unknown, type: PatchType): object {
  if (type === 'json') return jsonPatch(target, patch);
  if (!isObject(patch)) throw new ApiError('BadRequest', `a ${type} patch must be an object`);
  return (type === 'merge' ? mergePatch(target, patch) : strategicMergePatch(target, patch)) as object;
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `__proto__` as a key would reach behind the object. */
function safeKey(key: string): string {
  if (key === '__proto__') throw new ApiError('BadRequest', 'a patch must not name __proto__');
  return key;
}

/** RFC 7386: null removes, objects merge, everything else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const result: Json = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[safeKey(key)];
    else result[safeKey(key)] = mergePatch(result[key], value);
  }
  return result;
}

/** Lists that merge by a key of their items, by field name; lists not named here are replaced as a whole. */
const mergeKeys: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  ephemeralContainers: 'name',
  volumes: 'name',
  env: 'name',
  ports: 'containerPort',
  volumeMounts: 'mountPath',
  volumeDevices: 'devicePath',
  imagePullSecrets: 'name',
  hostAliases: 'ip',
  topologySpreadConstraints: 'topologyKey',
  ownerReferences: 'uid',
  conditions: 'type',
  podIPs: 'ip',
  hostIPs: 'ip',
  addresses: 'type',
};
const primitiveLists = new Set(['finalizers', 'podCIDRs']);

/** How a strategic merge patch treats a list of that name; undefined: replaces it. `key` is absent for lists of texts. */
export function listMerge(field: string): { readonly key?: string } | undefined {
  if (primitiveLists.has(field)) return {};
  const key = mergeKeys[field];
  return key === undefined ? undefined : { key };
}

/** Kubernetes' own patch: as merge patch, but lists of named items merge item by item, and `$patch` directs. */
export function strategicMergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const directive = patch.$patch;
  if (directive === 'delete') return undefined;
  const rest = Object.fromEntries(Object.entries(patch).filter(([key]) => key !== '$patch'));
  if (directive === 'replace') return rest;
  const result: Json = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(rest)) {
    if (key.startsWith('$')) applyDirective(result, key, value);
    else if (value === null) delete result[safeKey(key)];
    else {
      const merged = Array.isArray(value)
        ? mergeList(key, result[key], value)
        : strategicMergePatch(result[key], value);
      if (merged === undefined) delete result[key];
      else result[safeKey(key)] = merged;
    }
  }
  return result;
}

function applyDirective(result: Json, key: string, value: unknown): void {
  const removed = '$deleteFromPrimitiveList/';
  if (key.startsWith(removed) && Array.isArray(value)) {
    const field = safeKey(key.slice(removed.length));
    const list = result[field];
    if (Array.isArray(list)) result[field] = list.filter((one) => !value.includes(one));
  } else if (key === '$retainKeys' && Array.isArray(value)) {
    for (const field of Object.keys(result)) if (!value.includes(field)) delete result[field];
  } else if (!key.startsWith('$setElementOrder/')) {
    throw new ApiError('BadRequest', `unknown directive ${JSON.stringify(key)} in a strategic merge patch`);
  }
}

function mergeList(field: string, target: unknown, patch: unknown[]): unknown[] {
  const old = Array.isArray(target) ? target : [];
  if (primitiveLists.has(field)) return [...new Set([...old, ...patch])];
  const key = mergeKeys[field];
  if (key === undefined || patch.some((item) => !isObject(item))) return patch;
  const items = patch as Json[];
  if (items.some((item) => item.$patch === 'replace' && Object.keys(item).length === 1))
    return items.filter((item) => item.$patch !== 'replace');
  const result = [...old] as Json[];
  for (const item of items) {
    if (item[key] === undefined)
      throw new ApiError(
        'BadRequest',
        `strategic merge patch: an item of ${field} lacks its merge key ${JSON.stringify(key)}`,
      );
    const at = result.findIndex((one) => one[key] === item[key]);
    const merged = strategicMergePatch(at < 0 ? undefined : result[at], item) as Json | undefined;
    if (merged === undefined) {
      if (at >= 0) result.splice(at, 1);
    } else if (at < 0) result.push(merged);
    else result[at] = merged;
  }
  return result;
}

interface Operation {
  op: string;
  path: string;
  from?: string;
  value?: unknown;
}

/** RFC 6902: all operations or none. */
export function jsonPatch(target: object, patch: unknown): object {
  if (!Array.isArray(patch)) throw new ApiError('BadRequest', 'a JSON patch must be a list of operations');
  let result: unknown = structuredClone(target);
  patch.forEach((operation: Operation, at) => {
    try {
      result = operate(result, operation);
    } catch (cause) {
      throw new ApiError(
        'Invalid',
        `the server rejected our request due to an error in our request: operation ${at} (${JSON.stringify(operation)}): ${(cause as Error).message}`,
        undefined,
        { cause },
      );
    }
  });
  if (!isObject(result)) throw new ApiError('Invalid', 'a JSON patch must leave an object');
  return result;
}

function operate(document: unknown, { op, path, from, value }: Operation): unknown {
  switch (op) {
    case 'add':
    case 'replace':
      return write(document, path, { op, value: structuredClone(value) });
    case 'remove':
      return write(document, path, { op });
    case 'test':
      if (stable(read(document, path)) !== stable(value))
        throw new RangeError(`testing value ${path} failed`);
      return document;
    case 'move': {
      const moved = read(document, from ?? '');
      return write(write(document, from ?? '', { op: 'remove' }), path, { op: 'add', value: moved });
    }
    case 'copy':
      return write(document, path, { op: 'add', value: structuredClone(read(document, from ?? '')) });
    default:
      throw new RangeError(`no operation ${JSON.stringify(op)}`);
  }
}

const stable = (value: unknown): string =>
  JSON.stringify(value, (_key, one) =>
    isObject(one) ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1))) : one,
  ) ?? 'undefined';

function steps(path: string): string[] {
  if (path === '') return [];
  if (typeof path !== 'string' || !path.startsWith('/'))
    throw new RangeError(`path ${JSON.stringify(path)} does not begin with /`);
  return path
    .slice(1)
    .split('/')
    .map((step) => safeKey(step.replaceAll('~1', '/').replaceAll('~0', '~')));
}

function read(document: unknown, path: string): unknown {
  let value = document;
  for (const step of steps(path)) {
    const holder = value as Json;
    if (typeof value !== 'object' || value === null || !Object.hasOwn(holder, step))
      throw new RangeError(`${path}: nothing there`);
    value = holder[step];
  }
  return value;
}

function write(document: unknown, path: string, change: { op: string; value?: unknown }): unknown {
  const way = steps(path);
  const last = way.pop();
  if (last === undefined) return change.value;
  const holder = read(document, path.slice(0, path.lastIndexOf('/')));
  if (Array.isArray(holder)) {
    const at = last === '-' ? holder.length : Number(last);
    const end = change.op === 'add' ? holder.length : holder.length - 1;
    if (!Number.isInteger(at) || at < 0 || at > end) throw new RangeError(`${path}: no such index`);
    if (change.op === 'add') holder.splice(at, 0, change.value);
    else if (change.op === 'remove') holder.splice(at, 1);
    else holder[at] = change.value;
  } else if (isObject(holder)) {
    if (change.op !== 'add' && !Object.hasOwn(holder, last)) throw new RangeError(`${path}: nothing there`);
    if (change.op === 'remove') delete holder[last];
    else holder[last] = change.value;
  } else throw new RangeError(`${path}: nothing there to change`);
  return document;
}
