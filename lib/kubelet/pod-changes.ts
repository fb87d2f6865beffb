// Which changes of a Pod's object are work for its kubelet: its own status writes come back as updates too. Pure.
// Assumes two versions of one object. One comparison of two specs at most.
import { isDeepStrictEqual } from 'node:util';
import type { Pod } from '../api/types.ts';
import { foreignConditions } from './pod-conditions.ts';

/** Its worker has something to do. */
export function wantsSync(before: Pod, after: Pod): boolean {
  return (
    before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp ||
    gatesChanged(before, after) ||
    (before.spec !== after.spec && JSON.stringify(before.spec) !== JSON.stringify(after.spec)) ||
    (showsMetadata(after) && textOf(before) !== textOf(after))
  );
}

/** Readiness gates are set by others, in the status. */
function gatesChanged(before: Pod, after: Pod): boolean {
  if (!after.spec.readinessGates?.length) return false;
  return !isDeepStrictEqual(foreignConditions(before), foreignConditions(after));
}

const textOf = ({ metadata: { labels, annotations } }: Pod): string => JSON.stringify([labels, annotations]);

/** A volume of it tells its labels or annotations. */
const showsMetadata = ({ spec }: Pod): boolean =>
  (spec.volumes ?? []).some(
    ({ downwardAPI, projected }) => downwardAPI ?? projected?.sources?.some((source) => source.downwardAPI),
  );

/** Also true of the first deletion: a container that is being restarted then is to end no later. */
export function graceShortened(before: Pod, after: Pod): boolean {
  const grace = after.metadata.deletionGracePeriodSeconds;
  const known = before.metadata.deletionGracePeriodSeconds ?? Number.POSITIVE_INFINITY;
  return grace !== undefined && grace < known;
}
