// What is special about each kind when it is created or changed: defaults, initial status, rules.
// Assumes a private copy that passed the schema check. One row a resource; O(fields); pure.
import { validateBandwidth } from '../../api/bandwidth.ts';
import { defaultPodSpec, qosClassOf } from '../../api/defaulting.ts';
import type { FieldError } from '../../api/field-errors.ts';
import { unsupportedAnnotations, unsupportedFields } from '../../api/supported.ts';
import type {
  ConfigMap,
  Event,
  Kinds,
  Lease,
  Namespace,
  Node,
  Pod,
  Resource,
  Secret,
} from '../../api/types.ts';
import {
  dataMetaRules,
  eventMetaRules,
  type MetaRules,
  namespaceMetaRules,
  nodeMetaRules,
  podMetaRules,
  validateEvent,
  validateLease,
  validateNode,
} from '../../api/validation/validation.ts';
import { validateConfigMap, validateImmutable, validateSecret } from '../../api/validation/data.ts';
import { validatePodSpec, validatePodUpdate } from '../../api/validation/pod.ts';

export interface Strategy<T> {
  readonly metaRules: MetaRules;
  readonly statusType?: string;
  /** Fills in what was left out. */
  setDefaults(object: T): void;
  /** Sets what a client may not choose. */
  prepareCreate(object: T): void;
  /** metadata.generation counts the changes of this kind's spec. */
  readonly countsGenerations: boolean;
  validate(object: T): FieldError[];
  validateUpdate(object: T, old: T): FieldError[];
}

const pods: Strategy<Pod> = {
  metaRules: podMetaRules,
  statusType: 'PodStatus',
  countsGenerations: true,
  setDefaults(pod) {
    pod.spec ??= { containers: [] };
    defaultPodSpec(pod.spec);
  },
  prepareCreate(pod) {
    pod.status = { phase: 'Pending', qosClass: qosClassOf(pod.spec) };
  },
  validate: (pod) => [
    ...validatePodSpec(pod.spec),
    ...validateBandwidth(pod.metadata.annotations ?? {}),
    ...unsupportedAnnotations(pod.metadata.annotations),
    ...unsupportedFields(pod.spec),
  ],
  validateUpdate: (pod, old) => validatePodUpdate(pod.spec, old.spec),
};

const nodes: Strategy<Node> = {
  metaRules: nodeMetaRules,
  statusType: 'NodeStatus',
  countsGenerations: false,
  setDefaults(node) {
    node.spec ??= {};
    node.status ??= {};
  },
  prepareCreate() {}, // a kubelet registers its node together with its status
  validate: validateNode,
  validateUpdate: () => [],
};

const namespaces: Strategy<Namespace> = {
  metaRules: namespaceMetaRules,
  statusType: 'NamespaceStatus',
  countsGenerations: false,
  setDefaults(namespace) {
    namespace.spec ??= {};
    namespace.spec.finalizers ??= ['kubernetes'];
    if (namespace.metadata.name)
      namespace.metadata.labels = {
        ...namespace.metadata.labels,
        'kubernetes.io/metadata.name': namespace.metadata.name,
      };
  },
  prepareCreate(namespace) {
    namespace.status = { phase: 'Active' };
  },
  validate: () => [],
  validateUpdate: () => [],
};

const events: Strategy<Event> = {
  metaRules: eventMetaRules,
  countsGenerations: false,
  setDefaults() {},
  prepareCreate() {},
  validate: validateEvent,
  validateUpdate: () => [],
};

const configmaps: Strategy<ConfigMap> = {
  metaRules: dataMetaRules,
  countsGenerations: false,
  setDefaults() {},
  prepareCreate() {},
  validate: validateConfigMap,
  validateUpdate: validateImmutable,
};

const secrets: Strategy<Secret> = {
  metaRules: dataMetaRules,
  countsGenerations: false,
  setDefaults(secret) {
    secret.type ||= 'Opaque';
    for (const [key, value] of Object.entries(secret.stringData ?? {}))
      secret.data = { ...secret.data, [key]: Buffer.from(value).toString('base64') };
    delete secret.stringData; // write-only: it is never read back
  },
  prepareCreate() {},
  validate: validateSecret,
  validateUpdate: validateImmutable,
};

const leases: Strategy<Lease> = {
  metaRules: dataMetaRules,
  countsGenerations: false,
  setDefaults() {},
  prepareCreate() {},
  validate: validateLease,
  validateUpdate: () => [],
};

export const strategies: { readonly [R in Resource]: Strategy<Kinds[R]> } = {
  pods,
  nodes,
  namespaces,
  events,
  configmaps,
  secrets,
  leases,
};
