// `podwire describe node` and `describe namespace`: as kubectl lays them out, with the node's Pods. Pure.
import { age } from '../../../lib/api/durations.ts';
import type { Event, Namespace, Node, Pod } from '../../../lib/api/types.ts';
import { localTime, pairs } from './describe-pod.ts';
import { renderEvents } from './events.ts';
import { type Field, renderFields, renderTable } from './text.ts';

export function describeNode(
  node: Node,
  around: { pods: readonly Pod[]; events: readonly Event[]; now: number },
): string {
  const { metadata, spec = {}, status = {} } = node;
  const conditions = (status.conditions ?? []).map((each) => [
    each.type,
    each.status,
    each.lastHeartbeatTime ? localTime(each.lastHeartbeatTime) : '',
    each.reason ?? '',
    each.message ?? '',
  ]);
  const fields: Field[] = [
    ['Name', metadata.name],
    ['Labels', pairs(metadata.labels)],
    ['Annotations', pairs(metadata.annotations, ': ')],
    ['CreationTimestamp', localTime(metadata.creationTimestamp)],
    [
      'Taints',
      (spec.taints ?? []).map((each) => `${each.key}=${each.value ?? ''}:${each.effect}`).join('\n') ||
        '<none>',
    ],
    ['Unschedulable', String(spec.unschedulable ?? false)],
    ['PodCIDR', spec.podCIDR],
    ['PodCIDRs', spec.podCIDRs?.join()],
  ];
  return [
    renderFields(fields),
    conditions.length > 0
      ? `Conditions:\n${indented(renderTable(['Type', 'Status', 'LastHeartbeatTime', 'Reason', 'Message'], conditions))}`
      : '',
    block(
      'Addresses',
      (status.addresses ?? []).map((each) => [each.type, each.address]),
    ),
    block(
      'Capacity',
      Object.entries(status.capacity ?? {}).map(([name, amount]) => [name, String(amount)]),
    ),
    block(
      'Allocatable',
      Object.entries(status.allocatable ?? {}).map(([name, amount]) => [name, String(amount)]),
    ),
    block(
      'System Info',
      Object.entries(status.nodeInfo ?? {}).map(([name, value]) => [words(name), String(value)]),
    ),
    podTable(around.pods, around.now),
    renderEvents(around.events, around.now),
  ].join('');
}

export function describeNamespace(namespace: Namespace): string {
  return renderFields([
    ['Name', namespace.metadata.name],
    ['Labels', pairs(namespace.metadata.labels)],
    ['Annotations', pairs(namespace.metadata.annotations, ': ')],
    ['Status', namespace.status?.phase ?? 'Active'],
  ]);
}

const indented = (text: string): string => text.replace(/^(?=.)/gm, '  ');

const block = (title: string, fields: readonly Field[]): string =>
  fields.length === 0 ? '' : `${title}:\n${renderFields(fields, '  ')}`;

/** `kernelVersion` → `Kernel Version` */
const words = (name: string): string =>
  name.replace(/([a-z])([A-Z])/g, '$1 $2').replace(/^./, (first) => first.toUpperCase());

function podTable(pods: readonly Pod[], now: number): string {
  const rows = pods.map((pod) => [
    pod.metadata.namespace,
    pod.metadata.name,
    request(pod, 'cpu'),
    request(pod, 'memory'),
    age(pod.metadata.creationTimestamp, now),
  ]);
  const head = `Pods:  (${pods.length} in total)\n`;
  const header = ['Namespace', 'Name', 'CPU Requests', 'Memory Requests', 'Age'];
  return rows.length === 0 ? head : head + indented(renderTable(header, rows));
}

/** Each container's request, added up in writing: quantities keep the units a person wrote. */
function request(pod: Pod, name: string): string {
  const amounts = pod.spec.containers
    .map((each) => each.resources?.requests?.[name])
    .filter((each) => each !== undefined);
  return amounts.length === 0 ? '0' : amounts.map(String).join('+');
}
