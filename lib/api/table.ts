// The columns that `kubectl get` and `podwire get` show: one row an object, as Kubernetes' own printer writes them.
// Assumes stored objects. Pure: the time is a parameter. O(containers) a row.
// Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go (v1.34)
import { age } from './durations.ts';
import { kindOf, lastingContainers } from './pod-containers.ts';
import { podStatusWord, restartsText } from './pod-status.ts';
import type {
  ApiObject,
  ConfigMap,
  Event,
  Kinds,
  Lease,
  Namespace,
  Node,
  Pod,
  Resource,
  Secret,
} from './types.ts';

export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer';
  readonly format: string;
  readonly description: string;
  /** 0: always shown; 1: with -o wide. */
  readonly priority: number;
}

export type Cell = string | number;

const column = (name: string, priority = 0, type: 'string' | 'integer' = 'string'): Column => ({
  name,
  type,
  format: name === 'Name' ? 'name' : '',
  description: '',
  priority,
});

export const columns: Readonly<Record<Resource, readonly Column[]>> = {
  pods: [
    ...[column('Name'), column('Ready'), column('Status'), column('Restarts'), column('Age')],
    ...[column('IP', 1), column('Node', 1), column('Nominated Node', 1), column('Readiness Gates', 1)],
  ],
  nodes: [
    ...[column('Name'), column('Status'), column('Roles'), column('Age'), column('Version')],
    ...[column('Internal-IP', 1), column('External-IP', 1), column('OS-Image', 1)],
    ...[column('Kernel-Version', 1), column('Container-Runtime', 1)],
  ],
  namespaces: [column('Name'), column('Status'), column('Age')],
  events: [
    ...[column('Last Seen'), column('Type'), column('Reason'), column('Object')],
    ...[column('Subobject', 1), column('Source', 1), column('Message')],
    ...[column('First Seen', 1), column('Count', 1, 'integer'), column('Name', 1)],
  ],
  configmaps: [column('Name'), column('Data', 0, 'integer'), column('Age')],
  secrets: [column('Name'), column('Type'), column('Data', 0, 'integer'), column('Age')],
  leases: [column('Name'), column('Holder'), column('Age')],
};

const rows: { [R in Resource]: (object: Kinds[R], now: number) => Cell[] } = {
  pods: podCells,
  nodes: nodeCells,
  namespaces: namespaceCells,
  events: eventCells,
  configmaps: configMapCells,
  secrets: secretCells,
  leases: leaseCells,
};

/** One cell a column, all columns; `now` in milliseconds since the epoch. */
export function cellsOf<R extends Resource>(resource: R, object: Kinds[R], now: number): Cell[] {
  return rows[resource](object, now);
}

function podCells(pod: Pod, now: number): Cell[] {
  const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {};
  const sidecars = initContainerStatuses.filter(({ name }) => kindOf(pod.spec, name) === 'sidecar');
  const ready = [...sidecars, ...containerStatuses].filter((one) => one.ready && one.state?.running).length;
  const ips = pod.status?.podIPs ?? [];
  return [
    pod.metadata.name,
    `${ready}/${lastingContainers(pod.spec).length}`,
    podStatusWord(pod),
    restartsText(pod, now),
    age(pod.metadata.creationTimestamp, now),
    ips[0]?.ip ?? pod.status?.podIP ?? '<none>',
    pod.spec.nodeName || '<none>',
    pod.status?.nominatedNodeName || '<none>',
    readinessGates(pod),
  ];
}

function readinessGates(pod: Pod): string {
  const gates = pod.spec.readinessGates ?? [];
  if (gates.length === 0) return '<none>';
  const passed = gates.filter((gate) =>
    pod.status?.conditions?.some(({ type, status }) => type === gate.conditionType && status === 'True'),
  );
  return `${passed.length}/${gates.length}`;
}

function nodeCells(node: Node, now: number): Cell[] {
  const ready = node.status?.conditions?.find(({ type }) => type === 'Ready');
  const words = [ready === undefined ? 'Unknown' : ready.status === 'True' ? 'Ready' : 'NotReady'];
  if (node.spec?.unschedulable) words.push('SchedulingDisabled');
  const address = (wanted: string): string =>
    node.status?.addresses?.find(({ type }) => type === wanted)?.address ?? '<none>';
  const info = node.status?.nodeInfo;
  return [
    node.metadata.name,
    words.join(','),
    nodeRoles(node),
    age(node.metadata.creationTimestamp, now),
    info?.kubeletVersion ?? '',
    address('InternalIP'),
    address('ExternalIP'),
    info?.osImage || '<unknown>',
    info?.kernelVersion || '<unknown>',
    info?.containerRuntimeVersion || '<unknown>',
  ];
}

function nodeRoles(node: Node): string {
  const prefix = 'node-role.kubernetes.io/';
  const roles = Object.entries(node.metadata.labels ?? {}).flatMap(([key, value]) => {
    if (key.startsWith(prefix) && key.length > prefix.length) return [key.slice(prefix.length)];
    return key === 'kubernetes.io/role' && value !== '' ? [value] : [];
  });
  return roles.length > 0 ? roles.sort().join(',') : '<none>';
}

function namespaceCells(namespace: Namespace, now: number): Cell[] {
  return [
    namespace.metadata.name,
    namespace.status?.phase ?? '',
    age(namespace.metadata.creationTimestamp, now),
  ];
}

function eventCells(event: Event, now: number): Cell[] {
  const first = event.firstTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp;
  const last = event.series?.lastObservedTime ?? event.lastTimestamp ?? first;
  const { kind = '', name = '', fieldPath = '' } = event.involvedObject;
  const component = event.source?.component ?? event.reportingComponent ?? '';
  const host = event.source?.host ?? event.reportingInstance;
  const count = event.series?.count ?? event.count ?? 1;
  return [
    lastSeen(age(last, now), age(first, now), count),
    event.type ?? '',
    event.reason ?? '',
    `${kind.toLowerCase()}/${name}`,
    fieldPath,
    host ? `${component}, ${host}` : component,
    (event.message ?? '').trim(),
    age(first, now),
    count,
    event.metadata.name,
  ];
}

function configMapCells({ metadata, data = {}, binaryData = {} }: ConfigMap, now: number): Cell[] {
  const count = Object.keys(data).length + Object.keys(binaryData).length;
  return [metadata.name, count, age(metadata.creationTimestamp, now)];
}

function secretCells({ metadata, type, data = {} }: Secret, now: number): Cell[] {
  return [metadata.name, type ?? '', Object.keys(data).length, age(metadata.creationTimestamp, now)];
}

function leaseCells({ metadata, spec }: Lease, now: number): Cell[] {
  return [metadata.name, spec?.holderIdentity ?? '', age(metadata.creationTimestamp, now)];
}

const lastSeen = (last: string, first: string, count: number): string =>
  count > 1 ? `${last} (x${count} over ${first})` : last;

export interface Table {
  kind: 'Table';
  apiVersion: 'meta.k8s.io/v1';
  metadata: { resourceVersion: string };
  columnDefinitions: readonly Column[];
  rows: { cells: Cell[]; object: object }[];
}

export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** metav1.Table: what a client gets that accepts `application/json;as=Table;v=v1;g=meta.k8s.io`. */
export function tableOf<R extends Resource>(
  resource: R,
  items: readonly Kinds[R][],
  options: { resourceVersion: string; now: number; includeObject: IncludeObject },
): Table {
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: { resourceVersion: options.resourceVersion },
    columnDefinitions: columns[resource],
    rows: items.map((item) => ({
      cells: cellsOf(resource, item, options.now),
      object: shownObject(item, options.includeObject),
    })),
  };
}

function shownObject(object: ApiObject, include: IncludeObject): object {
  if (include === 'Object') return object;
  const partial = { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1' };
  return include === 'None' ? partial : { ...partial, metadata: object.metadata };
}
