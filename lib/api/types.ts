// The object types of the API: Kubernetes' own, from the package kubernetes-models; nothing is typed by hand
// but the few aliases here. Types only: this file vanishes at run time.
import type { IBinding } from 'kubernetes-models/v1/Binding';
import type { ILease } from 'kubernetes-models/coordination.k8s.io/v1/Lease';
import type { IConfigMap } from 'kubernetes-models/v1/ConfigMap';
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { IContainerStatus } from 'kubernetes-models/v1/ContainerStatus';
import type { IEvent } from 'kubernetes-models/v1/Event';
import type { ILifecycleHandler } from 'kubernetes-models/v1/LifecycleHandler';
import type { INamespace } from 'kubernetes-models/v1/Namespace';
import type { INode } from 'kubernetes-models/v1/Node';
import type { IPod } from 'kubernetes-models/v1/Pod';
import type { IPodSpec } from 'kubernetes-models/v1/PodSpec';
import type { IPodStatus } from 'kubernetes-models/v1/PodStatus';
import type { IProbe } from 'kubernetes-models/v1/Probe';
import type { ISecret } from 'kubernetes-models/v1/Secret';
import type { IVolume } from 'kubernetes-models/v1/Volume';

type Meta = NonNullable<IPod['metadata']>;

/** metadata as it stands once an object was stored: name, uid, resourceVersion and creationTimestamp are there. */
export type ObjectMeta = Meta & {
  name: string;
  uid: string;
  resourceVersion: string;
  creationTimestamp: string;
};

/** An object as the store keeps it. */
export interface ApiObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

type Stored<T> = Omit<T, 'metadata'> & { metadata: ObjectMeta };
export type Pod = Stored<IPod> & { metadata: ObjectMeta & { namespace: string }; spec: IPodSpec };
export type Node = Stored<INode>;
export type Namespace = Stored<INamespace>;
export type Event = Stored<IEvent>;
export type ConfigMap = Stored<IConfigMap>;
export type Secret = Stored<ISecret>;
export type Lease = Stored<ILease>;
export type PodSpec = IPodSpec;
export type PodStatus = IPodStatus;
export type Container = IContainer;
export type ContainerStatus = IContainerStatus;
export type ContainerState = NonNullable<IContainerStatus['state']>;
export type PodCondition = NonNullable<IPodStatus['conditions']>[number];
export type Volume = IVolume;
export type Probe = IProbe;
export type LifecycleHandler = ILifecycleHandler;
export type Binding = IBinding;

/** Every kind that the API serves, by its REST resource name. */
export interface Kinds {
  pods: Pod;
  nodes: Node;
  namespaces: Namespace;
  events: Event;
  configmaps: ConfigMap;
  secrets: Secret;
  leases: Lease;
}
export type Resource = keyof Kinds;
