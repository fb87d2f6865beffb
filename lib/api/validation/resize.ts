// What `pods/resize` may change: cpu and memory of containers that last, within the Pod's QoS class. Pure; O(containers).
// Assumes two specs of one Pod, defaulted. Source: podResizeStrategy and ValidatePodResize, v1.34.
import { isDeepStrictEqual } from 'node:util';
import { qosClassOf } from '../defaulting.ts';
import { type FieldError, forbidden, invalid } from '../field-errors.ts';
import { findContainer, placedContainers } from '../pod-containers.ts';
import type { Container, Pod } from '../types.ts';

const resizable = ['cpu', 'memory'];

/** The old Pod with the resources that are asked for; whatever else the request says is passed over. */
export function resizedPod<P extends Pod>(old: P, asked: Pod): P {
  const take = (container: Container): Container => {
    const resources = asked.spec && findContainer(asked.spec, container.name)?.resources;
    return resources ? { ...container, resources } : container;
  };
  const { spec } = old;
  return {
    ...old,
    metadata: { ...old.metadata, ...preconditionsOf(asked) },
    spec: {
      ...spec,
      containers: spec.containers.map(take),
      ...(spec.initContainers ? { initContainers: spec.initContainers.map(take) } : {}),
    },
  };
}

const preconditionsOf = ({ metadata }: Pod): object =>
  metadata?.resourceVersion ? { resourceVersion: metadata.resourceVersion } : {};

export function validatePodResize({ spec, metadata }: Pod, { spec: old }: Pod): FieldError[] {
  const errors: FieldError[] = [];
  // What a mirror shows is decided by a file.
  if (metadata.annotations?.['kubernetes.io/config.mirror'])
    errors.push(forbidden('metadata.annotations', 'static pods cannot be resized'));
  for (const { container, kind, path } of placedContainers(spec)) {
    const before = findContainer(old, container.name)?.resources;
    if (isDeepStrictEqual(container.resources, before)) continue;
    const at = `${path}.resources`;
    if (kind === 'init')
      errors.push(forbidden(at, 'init containers that are not sidecars cannot be resized'));
    for (const list of ['limits', 'requests'] as const) {
      const now = (container.resources?.[list] ?? {}) as Record<string, unknown>;
      const was = (before?.[list] ?? {}) as Record<string, unknown>;
      for (const name of new Set([...Object.keys(now), ...Object.keys(was)])) {
        if (now[name] === was[name]) continue;
        if (!resizable.includes(name))
          errors.push(forbidden(`${at}.${list}[${name}]`, 'only cpu and memory resources are mutable'));
        else if (now[name] === undefined)
          errors.push(forbidden(`${at}.${list}`, `resource ${list} cannot be removed`));
      }
    }
  }
  const qos = qosClassOf(spec);
  if (qos !== qosClassOf(old))
    errors.push(invalid('spec', qos, 'Pod QOS Class may not change as a result of resizing'));
  return errors;
}
