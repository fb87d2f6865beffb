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
export const isStaticPod = (pod: Pod): boolean =>
  pod.metadata.annotations?.[sourceAnnotation] === 'file' && !isMirrorPod(pod);

/** The uid that the node knows a Pod by: for the mirror of a static Pod that of its file. */
export function runtimeUid(pod: Pod): string {
  return pod.metadata.annotations?.[mirrorAnnotation] ?? pod.metadata.uid;
}

/** /var/log/podwire/pods/NAMESPACE_NAME_UID */
export function podLogDir(paths: NodePaths, pod: Pod): string {
  const { namespace, name } = pod.metadata;
  return join(paths.logs, 'pods', `${namespace}_${name}_${runtimeUid(pod)}`);
}

/** The file that a container sees as terminationMessagePath. */
export function terminationLogPath(
  paths: NodePaths,
  uid: string,
  container: string,
  attempt: number,
): string {
  return join(paths.pods, uid, 'containers', container, `${attempt}.termination`);
}
