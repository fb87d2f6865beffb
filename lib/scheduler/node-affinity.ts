// nodeSelector and node affinity: which nodes a Pod will have, and which it would rather have.
// Assumes the schema check. Pure; O(terms). Source: k8s.io/component-helpers/scheduling/corev1/nodeaffinity
import { requirementMatches, type SelectorRequirement } from '../api/label-selector.ts';
import type { Node, PodSpec } from '../api/types.ts';

interface NodeTerm {
  readonly matchExpressions?: readonly SelectorRequirement[];
  readonly matchFields?: readonly SelectorRequirement[];
}

/** True where nodeSelector and required affinity both hold. */
export function fitsNode(spec: PodSpec, node: Node): boolean {
  const labels = node.metadata.labels ?? {};
  for (const [key, value] of Object.entries(spec.nodeSelector ?? {})) if (labels[key] !== value) return false;
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return required === undefined || required.nodeSelectorTerms.some((term) => termMatches(term, node));
}

/** Sum of the weights of the preferred terms that hold. */
export function preferenceOf(spec: PodSpec, node: Node): number {
  const preferred = spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  return preferred.reduce(
    (sum, { preference, weight }) => (termMatches(preference, node) ? sum + weight : sum),
    0,
  );
}

/** A term that says nothing matches nothing. */
function termMatches({ matchExpressions = [], matchFields = [] }: NodeTerm, node: Node): boolean {
  if (matchExpressions.length + matchFields.length === 0) return false;
  const fields = { 'metadata.name': node.metadata.name };
  return (
    matchExpressions.every((one) => requirementMatches(one, node.metadata.labels ?? {})) &&
    matchFields.every((one) => requirementMatches(one, fields))
  );
}
