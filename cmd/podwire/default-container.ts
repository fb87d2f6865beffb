// The container that logs, exec and attach mean when none is named. Pure. Source: kubectl's FindOrDefaultContainerByName.
// Assumes a Pod of the API: it has a container. O(containers).
import { allContainers, ephemeralContainers } from '../../lib/api/pod-containers.ts';
import type { Pod } from '../../lib/api/types.ts';

const annotation = 'kubectl.kubernetes.io/default-container';

/** The one that the Pod's annotation names, or the first; `told`: what to say when there was a choice and nobody made it. */
export function defaultContainerOf({ metadata, spec }: Pick<Pod, 'metadata' | 'spec'>): {
  readonly name: string;
  readonly told?: string;
} {
  const wanted = metadata.annotations?.[annotation];
  const all = [...allContainers(spec), ...ephemeralContainers(spec)];
  if (wanted !== undefined && all.some(({ name }) => name === wanted)) return { name: wanted };
  const name = spec.containers[0]?.name ?? '';
  if (all.length === 1) return { name };
  const init = (spec.initContainers ?? []).map((one) => `${one.name} (init)`);
  const ephemeral = ephemeralContainers(spec).map((one) => `${one.name} (ephem)`);
  const names = [...spec.containers.map((one) => one.name), ...init, ...ephemeral].join(', ');
  return { name, told: `Defaulted container "${name}" out of: ${names}` };
}
