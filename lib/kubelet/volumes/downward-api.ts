// downwardAPI: files that tell a container about its own Pod. Pure.
// Assumes validated items: fields of metadata, resources of a container that there is. O(items).
import { findContainer } from '../../api/pod-containers.ts';
import type { Pod, Volume } from '../../api/types.ts';
import { fieldValue, type NodeAmounts, resourceValue } from '../field-refs.ts';
import type { Payload } from './volume.ts';

type Items = NonNullable<NonNullable<Volume['downwardAPI']>['items']>;

/** @throws RangeError naming the field or the container */
export function downwardApiPayload(
  pod: Pod,
  items: Items,
  how: { readonly defaultMode: number; readonly node: NodeAmounts },
): Payload {
  return new Map(
    items.map((item) => {
      const text = item.fieldRef
        ? fieldValue(pod, { hostIP: '', podIPs: [] }, item.fieldRef.fieldPath)
        : resourceText(pod, item.resourceFieldRef, how.node);
      return [item.path, { data: Buffer.from(text), mode: item.mode ?? how.defaultMode }];
    }),
  );
}

function resourceText(pod: Pod, ref: Items[number]['resourceFieldRef'], node: NodeAmounts): string {
  const container = findContainer(pod.spec, ref?.containerName ?? '');
  if (!ref || !container) throw new RangeError(`container ${ref?.containerName ?? '""'} not found`);
  return resourceValue(container, ref, node);
}
