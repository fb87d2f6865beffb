// What the API serves: one row a resource, for the registry, discovery, the CLI and tables alike.
// Assumes the core group, version v1. A constant table.
import type { Resource } from './types.ts';

export interface ResourceInfo {
  readonly resource: Resource;
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
    kind: 'Pod',
    singular: 'pod',
    shortNames: ['po'],
    categories: ['all'],
    namespaced: true,
    hasStatus: true,
  },
  nodes: {
    resource: 'nodes',
    kind: 'Node',
    singular: 'node',
    shortNames: ['no'],
    namespaced: false,
    hasStatus: true,
  },
  namespaces: {
    resource: 'namespaces',
    kind: 'Namespace',
    singular: 'namespace',
    shortNames: ['ns'],
    namespaced: false,
    hasStatus: true,
  },
  events: {
    resource: 'events',
    kind: 'Event',
    singular: 'event',
    shortNames: ['ev'],
    namespaced: true,
    hasStatus: false,
  },
};

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
