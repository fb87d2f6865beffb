// What every Pod puts up with unless it says otherwise: that its node is lost or not ready, for a while.
// Assumes the defaulted Pod. Pure but for the object it is given; O(tolerations).
// Source: the admission plugin DefaultTolerationSeconds of kube-apiserver
import type { Admit } from '../api/admission.ts';
import { taintKeys, tolerates } from '../api/taints.ts';
import type { Pod } from '../api/types.ts';

export interface TolerationSeconds {
  readonly notReady: number;
  readonly unreachable: number;
}

export const defaultTolerationSeconds: TolerationSeconds = { notReady: 300, unreachable: 300 };

export const admitDefaultTolerations =
  (seconds: TolerationSeconds): Admit =>
  ({ resource, object }) => {
    if (resource !== 'pods') return;
    const { spec } = object as Pod;
    const given = spec.tolerations ?? [];
    const effect = 'NoExecute' as const;
    const added = (['notReady', 'unreachable'] as const)
      .map((which) => ({ key: taintKeys[which], tolerationSeconds: seconds[which] }))
      .filter(({ key }) => !given.some((one) => tolerates(one, { key, effect })))
      .map((one) => ({ ...one, operator: 'Exists' as const, effect }));
    if (added.length > 0) spec.tolerations = [...given, ...added];
  };
