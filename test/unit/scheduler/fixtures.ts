// Nodes and Pods as few words as a table of cases wants.
import type { Node, Pod } from '../../../lib/api/types.ts';
import { ClusterState } from '../../../lib/scheduler/snapshot.ts';

let count = 0;
const meta = (name: string, labels: Record<string, string> = {}) => ({
  name,
  uid: `${name}-${count++}`,
  resourceVersion: String(count),
  creationTimestamp: '2026-01-01T00:00:00Z',
  labels,
});

export function node(
  name: string,
  more: { labels?: Record<string, string>; spec?: object; allocatable?: Record<string, string> } = {},
): Node {
  const { labels = {}, spec = {}, allocatable = {} } = more;
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: meta(name, { 'kubernetes.io/hostname': name, ...labels }),
    spec,
    status: { allocatable: { cpu: '4', memory: '8Gi', pods: '110', ...allocatable } },
  } as Node;
}

export function pod(
  name: string,
  more: {
    labels?: Record<string, string>;
    namespace?: string;
    spec?: object;
    requests?: Record<string, string>;
    owner?: string;
  } = {},
): Pod {
  const { labels, namespace = 'default', spec = {}, requests, owner } = more;
  const metadata = { ...meta(name, labels), namespace };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: owner
      ? {
          ...metadata,
          ownerReferences: [{ apiVersion: 'v1', kind: 'X', name: owner, uid: owner, controller: true }],
        }
      : metadata,
    spec: {
      schedulerName: 'default-scheduler',
      containers: [{ name: 'a', ...(requests ? { resources: { requests } } : {}) }],
      ...spec,
    },
    status: { phase: 'Pending' },
  } as unknown as Pod;
}

/** Pods by the name of their node. */
export function cluster(
  nodes: readonly Node[],
  pods: Readonly<Record<string, readonly Pod[]>> = {},
): ClusterState {
  const state = new ClusterState({ namespaceLabels: (namespace) => ({ name: namespace }) });
  for (const each of nodes) state.setNode(each);
  for (const [nodeName, there] of Object.entries(pods))
    for (const each of there) state.setPod({ ...each, spec: { ...each.spec, nodeName } });
  return state;
}
