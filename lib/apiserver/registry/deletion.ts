// What a DELETE means: remove at once, mark and wait for the kubelet, shorten the wait, or nothing.
// Assumes the rules of k8s.io/apiserver/pkg/registry/rest/delete.go and of the Pod's strategy. Pure, O(1).
import type { ApiObject, Pod, Resource } from '../../api/types.ts';

export type Deletion =
  | { readonly action: 'remove' }
  | { readonly action: 'mark'; readonly graceSeconds: number; readonly deletionTimestamp: number }
  | { readonly action: 'nothing' };

/**
 * `requested`: seconds of the call, when given; `now`: milliseconds; `served`: a kubelet looks after the Pod.
 * deletionTimestamp is in milliseconds.
 */
export function decideDeletion(
  resource: Resource,
  object: ApiObject,
  when: { requested: number | undefined; now: number; served: boolean },
): Deletion {
  const grace = resource === 'pods' ? podGrace(object as Pod, when) : 0;
  const { deletionTimestamp, deletionGracePeriodSeconds: pending = 0, finalizers = [] } = object.metadata;
  const held = finalizers.length > 0;
  if (deletionTimestamp === undefined) {
    if (grace === 0 && !held) return { action: 'remove' };
    return { action: 'mark', graceSeconds: grace, deletionTimestamp: when.now + grace * 1000 };
  }
  if (grace === 0 && !held && (when.requested !== undefined || pending === 0)) return { action: 'remove' };
  // It is being deleted already: a further call may only shorten the wait.
  if (when.requested === undefined || grace >= pending) return { action: 'nothing' };
  const began = Date.parse(deletionTimestamp) - pending * 1000;
  return { action: 'mark', graceSeconds: grace, deletionTimestamp: began + grace * 1000 };
}

/** A Pod that no kubelet serves, or whose containers have ended, has nobody to wait for. */
function podGrace(
  pod: Pod,
  { requested, served }: { requested: number | undefined; served: boolean },
): number {
  const grace = requested ?? pod.spec.terminationGracePeriodSeconds ?? 30;
  const phase = pod.status?.phase;
  if (!served || phase === 'Succeeded' || phase === 'Failed') return 0;
  return grace < 0 ? 1 : grace;
}
