// The ConfigMaps and Secrets that a Pod's spec refers to: what its node may read, and watches. Pure, O(spec).
// Source: k8s.io/kubernetes/pkg/api/v1/pod (VisitPodSecretNames, VisitPodConfigmapNames).
import { allContainers } from './pod-containers.ts';
import type { Pod } from './types.ts';

export type DataResource = 'configmaps' | 'secrets';
export type References = Readonly<Record<DataResource, ReadonlySet<string>>>;

export function referencesOf({ spec }: Pick<Pod, 'spec'>): References {
  const configmaps = new Set<string>();
  const secrets = new Set<string>();
  const add = (to: Set<string>, name: string | undefined): void => {
    if (name) to.add(name);
  };
  for (const { name } of spec.imagePullSecrets ?? []) add(secrets, name);
  for (const volume of spec.volumes ?? []) {
    add(configmaps, volume.configMap?.name);
    add(secrets, volume.secret?.secretName);
    for (const source of volume.projected?.sources ?? []) {
      add(configmaps, source.configMap?.name);
      add(secrets, source.secret?.name);
    }
  }
  for (const { env, envFrom } of [...allContainers(spec), ...(spec.ephemeralContainers ?? [])]) {
    for (const { valueFrom } of env ?? []) {
      add(configmaps, valueFrom?.configMapKeyRef?.name);
      add(secrets, valueFrom?.secretKeyRef?.name);
    }
    for (const { configMapRef, secretRef } of envFrom ?? []) {
      add(configmaps, configMapRef?.name);
      add(secrets, secretRef?.name);
    }
  }
  return { configmaps, secrets };
}
