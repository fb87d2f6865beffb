// Where the kubelet keeps a Pod's logs and termination messages. Pure.
// Assumes validated names: they are DNS names, so none holds a slash or is "..".
import { join } from 'node:path';
import type { Pod } from '../api/types.ts';
import type { NodePaths } from '../kernel/paths.ts';

/** On the API object that shows a static Pod: the uid that the Pod has on its node. */
export const mirrorAnnotation = 'kubernetes.io/config.mirror';
/** On a Pod made from a file: 'file'. */
export const sourceAnnotation = 'kubernetes.io/config.source';

export const isMirrorPod = (pod: Pod): boolean => pod.metadata.annotations?.[mirrorAnnotation] !== undefined;

/** The uid that the node knows a Pod by: for the mirror of a static Pod that of its file. */
export function runtimeUid(pod: Pod): string {
  const own = pod.metadata.annotations?.[mirrorAnnotation];
  // It becomes part of paths: whatever else stands there is not a uid of ours.
  return own !== undefined && /^[0-9a-f-]{36}$/.test(own) ? own : pod.metadata.uid;
}

/** /var/log/podwire/pods/NAMESPACE_NAME_UID; a long name is cut, for a file name may have 255 bytes. */
export function podLogDir(paths: NodePaths, pod: Pod): string {
  const { namespace, name } = pod.metadata;
  return join(podLogsDir(paths), `${namespace}_${name.slice(0, 100)}_${runtimeUid(pod)}`);
}

export const podLogsDir = (paths: NodePaths): string => join(paths.logs, 'pods');

/** The file that a container sees as terminationMessagePath. */
export function terminationLogPath(
  paths: NodePaths,
  uid: string,
  container: string,
  attempt: number,
): string {
  return join(paths.pods, uid, 'containers', container, `${attempt}.termination`);
}
