// The word under STATUS and the count under RESTARTS: how a Pod's state is told in one word.
// Assumes statuses as the kubelet writes them. Pure; O(containers).
// Source: printPod in k8s.io/kubernetes/pkg/printers/internalversion/printers.go (v1.34)
import { isReady } from './conditions.ts';
import { age } from './durations.ts';
import type { ContainerStatus, Pod } from './types.ts';

/** Running, Completed, CrashLoopBackOff, Init:0/2, Terminating … */
export function podStatusWord(pod: Pod): string {
  const { status } = pod;
  let word = status?.reason || status?.phase || 'Unknown';
  if (status?.conditions?.some(({ type, reason }) => type === 'PodScheduled' && reason === 'SchedulingGated'))
    word = 'SchedulingGated';
  const initWord = initStatusWord(pod);
  // A Pod may have been initialised already even if an init container is said to wait.
  const initialized = status?.conditions?.some((one) => one.type === 'Initialized' && one.status === 'True');
  if (initWord !== undefined) word = initWord;
  if (initWord === undefined || initialized) word = appStatusWord(pod, word);
  if (pod.metadata.deletionTimestamp) {
    if (status?.reason === 'NodeLost') return 'Unknown';
    if (status?.phase !== 'Failed' && status?.phase !== 'Succeeded') return 'Terminating';
  }
  return word;
}

function appStatusWord(pod: Pod, before: string): string {
  let word = before;
  let anyRunning = false;
  for (const container of [...(pod.status?.containerStatuses ?? [])].reverse()) {
    const { waiting, terminated, running } = container.state ?? {};
    if (waiting?.reason) word = waiting.reason;
    else if (terminated) word = terminated.reason || endWord(terminated, '');
    else if (container.ready && running) anyRunning = true;
  }
  if (word !== 'Completed' || !anyRunning) return word;
  return isReady(pod) ? 'Running' : 'NotReady';
}

function endWord(terminated: { signal?: number; exitCode: number }, prefix: string): string {
  return terminated.signal
    ? `${prefix}Signal:${terminated.signal}`
    : `${prefix}ExitCode:${terminated.exitCode}`;
}

const isSidecar = (pod: Pod, name: string): boolean =>
  pod.spec.initContainers?.some((one) => one.name === name && one.restartPolicy === 'Always') ?? false;

/** The first init container that holds the Pod back; undefined when none does. */
function initStatusWord(pod: Pod): string | undefined {
  for (const [at, container] of (pod.status?.initContainerStatuses ?? []).entries()) {
    const { waiting, terminated } = container.state ?? {};
    if (terminated?.exitCode === 0) continue;
    if (isSidecar(pod, container.name) && container.started) continue;
    if (terminated) return terminated.reason ? `Init:${terminated.reason}` : endWord(terminated, 'Init:');
    if (waiting?.reason && waiting.reason !== 'PodInitializing') return `Init:${waiting.reason}`;
    return `Init:${at}/${pod.spec.initContainers?.length ?? 0}`;
  }
  return undefined;
}

/** `3 (5m12s ago)`: all restarts of the containers that count now, and the last one's time. */
export function restartsText(pod: Pod, now: number): string {
  const init = pod.status?.initContainerStatuses ?? [];
  const counted =
    initStatusWord(pod) === undefined
      ? [...(pod.status?.containerStatuses ?? []), ...init.filter(({ name }) => isSidecar(pod, name))]
      : init;
  const restarts = counted.reduce((sum, { restartCount }) => sum + restartCount, 0);
  const last = lastEnd(counted);
  return restarts > 0 && last !== undefined ? `${restarts} (${age(last, now)} ago)` : String(restarts);
}

function lastEnd(statuses: readonly ContainerStatus[]): string | undefined {
  const ends = statuses.flatMap(({ lastState }) => lastState?.terminated?.finishedAt ?? []);
  return ends.sort((a, b) => Date.parse(b) - Date.parse(a))[0];
}
