// The phase of a Pod from the states of its containers. Pure. O(containers).
// Assumes one status for each container of the spec. Source: kubelet's getPhase (v1.34).
import { kindOf } from '../api/pod-containers.ts';
import type { ContainerStatus, Pod } from '../api/types.ts';

export type Phase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

export const isTerminal = (phase: string | undefined): boolean => phase === 'Succeeded' || phase === 'Failed';

/** `statuses`: of init and app containers. */
export function podPhase(pod: Pod, statuses: readonly ContainerStatus[]): Phase {
  const of = (kind: string): ContainerStatus[] =>
    statuses.filter(({ name }) => kindOf(pod.spec, name) === kind);
  const apps = of('app');
  const init = initPhase(pod, of('init'), of('sidecar'), apps.some(hasBegun));
  if (init.phase) return init.phase;
  const count = { running: init.running, waiting: init.waiting, stopped: 0, succeeded: 0 };
  for (const { state, lastState } of apps) {
    if (state?.running) count.running += 1;
    else if (state?.terminated) {
      count.stopped += 1;
      if (state.terminated.exitCode === 0) count.succeeded += 1;
    } else if (lastState?.terminated) count.stopped += 1;
    else count.waiting += 1;
  }
  if (count.waiting > 0) return 'Pending';
  if (count.running > 0) return 'Running';
  if (apps.some(({ state }) => !state?.terminated)) return 'Running'; // some wait for their next try
  if (pod.spec.restartPolicy === 'Always') return 'Running';
  if (count.stopped === count.succeeded) return 'Succeeded';
  return pod.spec.restartPolicy === 'Never' ? 'Failed' : 'Running';
}

/** It runs, or has run. */
const hasBegun = ({ state, lastState }: ContainerStatus): boolean =>
  state?.running !== undefined || state?.terminated !== undefined || lastState?.terminated !== undefined;

/** What init containers and sidecars say: a phase, or how many sidecars run and wait. */
function initPhase(
  pod: Pod,
  init: readonly ContainerStatus[],
  sidecars: readonly ContainerStatus[],
  appsHaveBegun: boolean,
): { phase?: Phase; running: number; waiting: number } {
  const ends = init.map(({ state, lastState }) =>
    state?.terminated ? state.terminated : state?.waiting ? lastState?.terminated : undefined,
  );
  const running = sidecars.filter(({ state }) => state?.running).length;
  const waiting = sidecars.filter((one) => !hasBegun(one)).length;
  const counts = { running, waiting };
  if (pod.spec.restartPolicy === 'Never' && ends.some((end) => end && end.exitCode !== 0))
    return { ...counts, phase: 'Failed' };
  const pendingInit = ends.some((end) => end === undefined);
  const pendingSidecar = sidecars.some((one) => !hasBegun(one) || (one.state?.running && !one.started));
  if (pendingInit || (pendingSidecar && !appsHaveBegun)) return { ...counts, phase: 'Pending' };
  return counts;
}
