// What bringing a Pod to its spec needs of its surroundings.
import type { Amounts } from '../api/pod-requests.ts';
import type { Pod } from '../api/types.ts';
import type { RuntimeService } from '../container/cri.ts';
import type { NodePaths } from '../kernel/paths.ts';
import type { EventRecorder } from '../api/events.ts';
import type { ContainerStopper } from './container-stopper.ts';
import type { Pressure } from './eviction/thresholds.ts';
import type { NodeAmounts } from './field-refs.ts';
import type { ImagePuller } from './images.ts';
import type { ReferenceWatcher } from './references.ts';
import { runtimeStatusOf } from './pod-state.ts';
import type { ProbeManager } from './prober/manager.ts';
import type { NodeLimits } from './resources.ts';
import type { NodeDns } from './sandbox-config.ts';
import type { StatusManager } from './status-manager.ts';
import type { VolumeManager } from './volumes/volume-manager.ts';

export interface NodeFacts {
  readonly name: string;
  readonly hostname: string;
  readonly ip: string;
  readonly dns: NodeDns;
  readonly limits: NodeLimits;
  /** What Pods may ask for; cpu in millicores, all else in whole units. */
  readonly allocatable: Amounts;
  /** Beside the safe ones: names, or beginnings with a `*`. */
  readonly allowedUnsafeSysctls: readonly string[];
  /** What it has for Pods. */
  readonly amounts: NodeAmounts;
}

export interface SyncContext {
  readonly paths: NodePaths;
  readonly runtime: RuntimeService;
  readonly images: ImagePuller;
  readonly events: EventRecorder;
  readonly status: StatusManager;
  readonly stopper: ContainerStopper;
  readonly references: ReferenceWatcher;
  readonly volumes: VolumeManager;
  readonly probes: ProbeManager;
  readonly node: NodeFacts;
  readonly networkNotReady: () => string | undefined;
  /** Those that are here beside it and have not ended. */
  readonly otherPods: (pod: Pod) => readonly Pod[];
  /** What the node is short of. */
  readonly pressures: () => readonly Pressure[];
}

/** Where a Pod is reached from its node; '' while it has no address. */
export function podAddress({ runtime, node }: Pick<SyncContext, 'runtime' | 'node'>, pod: Pod): string {
  if (pod.spec.hostNetwork) return node.ip;
  return runtimeStatusOf(runtime, pod.metadata.uid).sandboxes[0]?.ips[0] ?? '';
}
