// Fills in what a manifest left out, as Kubernetes does before it stores an object; also the QoS class.
// Assumes the schema check has passed. Changes the object it is given: the caller hands in its own copy.
// O(fields); pure otherwise. Source: k8s.io/kubernetes/pkg/apis/core/v1/defaults.go (v1.34) and the default admission.
import { allContainers, ephemeralContainers } from './pod-containers.ts';
import { compareQuantities } from './quantity.ts';
import type { Container, PodSpec, Volume } from './types.ts';

/** The classes that are always there. Source: pkg/apis/scheduling/types.go, SystemCriticalPriority. */
const systemPriorities: Readonly<Record<string, number>> = {
  'system-cluster-critical': 2_000_000_000,
  'system-node-critical': 2_000_001_000,
};

/** Kubernetes' defaults of a Pod's spec. */
export function defaultPodSpec(spec: PodSpec): void {
  spec.restartPolicy ||= 'Always';
  spec.dnsPolicy ||= 'ClusterFirst';
  spec.terminationGracePeriodSeconds ??= 30;
  spec.securityContext ??= {};
  spec.schedulerName ||= 'default-scheduler';
  spec.enableServiceLinks ??= true;
  spec.serviceAccountName ||= spec.serviceAccount || 'default';
  spec.serviceAccount = spec.serviceAccountName;
  spec.preemptionPolicy ??= 'PreemptLowerPriority';
  spec.priority = systemPriorities[spec.priorityClassName ?? ''] ?? spec.priority ?? 0;
  for (const volume of spec.volumes ?? []) defaultVolume(volume);
  for (const container of allContainers(spec)) {
    defaultContainer(container, spec);
    defaultLifecycle(container);
  }
  for (const container of ephemeralContainers(spec)) defaultContainer(container, spec);
}

function defaultContainer(container: Container, spec: PodSpec): void {
  container.imagePullPolicy ||= container.image ? defaultPullPolicy(container.image) : 'IfNotPresent';
  container.terminationMessagePath ||= '/dev/termination-log';
  container.terminationMessagePolicy ||= 'File';
  container.resources ??= {};
  for (const port of container.ports ?? []) {
    port.protocol ||= 'TCP';
    if (spec.hostNetwork) port.hostPort ||= port.containerPort;
  }
  for (const { valueFrom } of container.env ?? []) if (valueFrom) defaultRefs(valueFrom);
  const { limits } = container.resources;
  if (limits) container.resources.requests = { ...limits, ...container.resources.requests };
}

function defaultLifecycle({ lifecycle, livenessProbe, readinessProbe, startupProbe }: Container): void {
  const probes = [livenessProbe, readinessProbe, startupProbe];
  for (const probe of probes) {
    if (!probe) continue;
    probe.timeoutSeconds ||= 1;
    probe.periodSeconds ||= 10;
    probe.successThreshold ||= 1;
    probe.failureThreshold ||= 3;
    if (probe.grpc) probe.grpc.service ??= '';
  }
  for (const handler of [...probes, lifecycle?.postStart, lifecycle?.preStop]) {
    if (!handler?.httpGet) continue;
    handler.httpGet.path ||= '/';
    handler.httpGet.scheme ||= 'HTTP';
  }
}

function defaultVolume(volume: Volume): void {
  const sources = Object.keys(volume).filter((key) => key !== 'name');
  if (sources.length === 0) volume.emptyDir = {};
  if (volume.hostPath) volume.hostPath.type ??= '';
  for (const kind of ['configMap', 'secret', 'downwardAPI', 'projected'] as const) {
    const source = volume[kind];
    if (source) source.defaultMode ??= 0o644;
  }
  const projected = (volume.projected?.sources ?? []).flatMap((source) => source.downwardAPI?.items ?? []);
  for (const item of [...(volume.downwardAPI?.items ?? []), ...projected]) defaultRefs(item);
}

type Refs = NonNullable<NonNullable<Container['env']>[number]['valueFrom']>;

function defaultRefs({ fieldRef, resourceFieldRef }: Pick<Refs, 'fieldRef' | 'resourceFieldRef'>): void {
  if (fieldRef) fieldRef.apiVersion ||= 'v1';
  if (resourceFieldRef) resourceFieldRef.divisor ??= '0';
}

/** Always for `:latest` or no tag at all, else IfNotPresent. A digest pins the image, whatever its tag. */
export function defaultPullPolicy(image: string): 'Always' | 'IfNotPresent' {
  if (image.includes('@')) return 'IfNotPresent';
  const last = image.slice(image.lastIndexOf('/') + 1);
  const colon = last.indexOf(':');
  return colon < 0 || last.slice(colon + 1) === 'latest' ? 'Always' : 'IfNotPresent';
}

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

/** By cpu and memory alone: none set, all limits equal to requests, or anything between. Pure. */
export function qosClassOf(spec: PodSpec): QosClass {
  const containers = allContainers(spec);
  const isSet = (value: string | number | undefined): value is string | number =>
    value !== undefined && Number.parseFloat(String(value)) !== 0;
  let any = false;
  let guaranteed = true;
  for (const { resources } of containers) {
    for (const name of ['cpu', 'memory']) {
      const limit = resources?.limits?.[name];
      const request = resources?.requests?.[name] ?? limit;
      if (isSet(limit) || isSet(request)) any = true;
      if (!isSet(limit) || !isSet(request) || compareQuantities(limit, request) !== 0) guaranteed = false;
    }
  }
  if (!any) return 'BestEffort';
  return guaranteed ? 'Guaranteed' : 'Burstable';
}
