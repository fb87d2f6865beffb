// Where each object lies in the store: /registry/RESOURCE/NAMESPACE/NAME, as in etcd under Kubernetes.
// Assumes names were validated before they are written; a name that was not cannot match any key. Pure.
import type { ObjectKey } from '../../api/client.ts';
import { ApiError } from '../../api/errors.ts';
import { resources } from '../../api/resources.ts';
import type { Resource } from '../../api/types.ts';

export const prefixOf = (resource: Resource, namespace?: string | undefined): string =>
  namespace && resources[resource].namespaced
    ? `/registry/${resource}/${namespace}/`
    : `/registry/${resource}/`;

export const keyOf = (resource: Resource, key: ObjectKey): string =>
  resources[resource].namespaced
    ? `/registry/${resource}/${key.namespace || 'default'}/${key.name}`
    : `/registry/${resource}/${key.name}`;

/** undefined: from what there is now, which '' and '0' mean, too. @throws ApiError BadRequest. */
export function parseRevision(text: string | undefined): number | undefined {
  if (text === undefined || text === '' || text === '0') return undefined;
  if (!/^\d{1,15}$/.test(text))
    throw new ApiError('BadRequest', `invalid resource version ${JSON.stringify(text)}`);
  return Number(text);
}
