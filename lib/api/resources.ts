// What the API serves: one row a resource, for the registry, discovery, the CLI and tables alike.
// Assumes one version a resource: `v1` is the core group. A constant table.
import type { Resource } from './types.ts';

export interface ResourceInfo {
  readonly resource: Resource;
  /** `v1` for the core group, else GROUP/VERSION. */
  readonly apiVersion: string;
  readonly kind: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories?: readonly string[];
  readonly namespaced: boolean;
  readonly hasStatus: boolean;
}

export const resources: Readonly<Record<Resource, ResourceInfo>> = {
  pods: {
    resource: 'pods',
    apiVersion: 'v1',
    kind: 'Pod',
    singular: 'pod',
    shortNames: ['po'],
    categories: ['all'],
    namespaced: true,
    hasStatus: true,
  },
  nodes: {
    resource: 'nodes',
    apiVersion: 'v1',
    kind: 'Node',
    singular: 'node',
    shortNames: ['no'],
    namespaced: false,
    hasStatus: true,
  },
  namespaces: {
    resource: 'namespaces',
    apiVersion: 'v1',
    kind: 'Namespace',
    singular: 'namespace',
    shortNames: ['ns'],
    namespaced: false,
    hasStatus: true,
  },
  events: {
    resource: 'events',
    apiVersion: 'v1',
    kind: 'Event',
    singular: 'event',
    shortNames: ['ev'],
    namespaced: true,
    hasStatus: false,
  },
  configmaps: {
    resource: 'configmaps',
    apiVersion: 'v1',
    kind: 'ConfigMap',
    singular: 'configmap',
    shortNames: ['cm'],
    namespaced: true,
    hasStatus: false,
  },
  secrets: {
    resource: 'secrets',
    apiVersion: 'v1',
    kind: 'Secret',
    singular: 'secret',
    shortNames: [],
    namespaced: true,
    hasStatus: false,
  },
  leases: {
    resource: 'leases',
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    singular: 'lease',
    shortNames: [],
    namespaced: true,
    hasStatus: false,
  },
};

/** Where a group's resources begin: /api/v1, or /apis/GROUP/VERSION. */
export const groupPath = (apiVersion: string): string =>
  apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;

/** By resource name, singular, short name or kind, in any case: what a person types. */
export function findResource(word: string): ResourceInfo | undefined {
  const wanted = word.toLowerCase();
  return Object.values(resources).find(
    (info) =>
      info.resource === wanted ||
      info.singular === wanted ||
      info.shortNames.includes(wanted) ||
      info.kind.toLowerCase() === wanted,
  );
}

export const isResource = (word: string): word is Resource => Object.hasOwn(resources, word);
