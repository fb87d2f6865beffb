// The containers of a Pod by their parts: init containers, sidecars (init containers that are kept running), app containers;
// and ephemeral ones, which are no part of what the Pod is: only who asks for them sees them.
// Assumes names are unique over all of them, as validation sees to. Pure; O(containers).
import type { Container, ContainerStatus, PodSpec, PodStatus } from './types.ts';

export type ContainerKind = 'init' | 'sidecar' | 'app' | 'ephemeral';

/** One that is added to a Pod that runs; `targetContainerName`: whose processes it sees. */
export type EphemeralContainer = Container & { readonly targetContainerName?: string };

export interface PlacedContainer {
  readonly container: Container;
  readonly kind: ContainerKind;
  /** Path in Kubernetes' style: spec.initContainers[0] */
  readonly path: string;
}

const kindOfInit = ({ restartPolicy }: Container): ContainerKind =>
  restartPolicy === 'Always' ? 'sidecar' : 'init';

/** All of them with their place, in the order in which they begin. */
export function placedContainers(spec: PodSpec): PlacedContainer[] {
  const init = (spec.initContainers ?? []).map((container, at) => ({
    container,
    kind: kindOfInit(container),
    path: `spec.initContainers[${at}]`,
  }));
  const apps = (spec.containers ?? []).map((container, at) => ({
    container,
    kind: 'app' as const,
    path: `spec.containers[${at}]`,
  }));
  return [...init, ...apps];
}

/** All of them, in the order in which they begin. */
export const allContainers = (spec: PodSpec): Container[] => [
  ...(spec.initContainers ?? []),
  ...(spec.containers ?? []),
];

export const ephemeralContainers = (spec: PodSpec): readonly EphemeralContainer[] =>
  (spec.ephemeralContainers ?? []) as EphemeralContainer[];

/** Those that run as long as the Pod does: sidecars and app containers. */
export const lastingContainers = (spec: PodSpec): Container[] => [
  ...(spec.initContainers ?? []).filter((container) => kindOfInit(container) === 'sidecar'),
  ...(spec.containers ?? []),
];

export const findContainer = (spec: PodSpec, name: string): Container | undefined =>
  [...allContainers(spec), ...ephemeralContainers(spec)].find((one) => one.name === name);

/** What a name stands for; what the spec does not name counts as an app container. */
export function kindOf(spec: PodSpec, name: string): ContainerKind {
  const init = spec.initContainers?.find((one) => one.name === name);
  if (ephemeralContainers(spec).some((one) => one.name === name)) return 'ephemeral';
  return init === undefined ? 'app' : kindOfInit(init);
}

/** What a Pod's status says of one of its containers, of whichever part. */
export const statusOfContainer = (status: PodStatus | undefined, name: string): ContainerStatus | undefined =>
  status?.initContainerStatuses?.find((one) => one.name === name) ??
  status?.containerStatuses?.find((one) => one.name === name) ??
  status?.ephemeralContainerStatuses?.find((one) => one.name === name);
