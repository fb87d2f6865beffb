// Label and field selectors as Kubernetes writes them: parsed once, then asked for each object.
// Assumes the syntax of k8s.io/apimachinery/pkg/labels and /fields; a field must be one the resource offers.
// Pure; O(requirements) an object.
import { ApiError } from './errors.ts';
import { labelValueFault, qualifiedNameFault } from './names.ts';
import type { ApiObject, Resource } from './types.ts';

export type Matcher = (object: ApiObject) => boolean;
type Labels = Readonly<Record<string, string>>;
type LabelTest = (labels: Labels) => boolean;

/** `a=b,c!=d,e in (f,g),h notin (i),j,!k`; @throws ApiError BadRequest. */
export function parseLabelSelector(text: string): (labels: Labels) => boolean {
  const tests = splitOutsideParentheses(text).map((part) => labelTest(part, text));
  return (labels) => tests.every((test) => test(labels));
}

function splitOutsideParentheses(text: string): string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function labelTest(part: string, whole: string): LabelTest {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(part);
  if (set) {
    const [, key, operator, list] = set;
    const values = list!.split(',').map((value) => value.trim());
    checkTerms(whole, key!, values);
    const isIn: LabelTest = (labels) => labels[key!] !== undefined && values.includes(labels[key!]!);
    return operator === 'in' ? isIn : (labels) => !isIn(labels);
  }
  const equality = /^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$/.exec(part);
  if (equality) {
    const [, key, operator, value] = equality;
    checkTerms(whole, key!, [value!]);
    return operator === '!=' ? (labels) => labels[key!] !== value : (labels) => labels[key!] === value;
  }
  const existence = /^(!?)\s*([^=!\s()]+)$/.exec(part);
  if (!existence)
    throw new ApiError(
      'BadRequest',
      `unable to parse label selector ${JSON.stringify(whole)} at ${JSON.stringify(part)}`,
    );
  const [, not, key] = existence;
  checkTerms(whole, key!, []);
  return (labels) => Object.hasOwn(labels, key!) === (not === '');
}

function checkTerms(whole: string, key: string, values: readonly string[]): void {
  const keyFault = qualifiedNameFault(key);
  const fault = keyFault ?? values.map(labelValueFault).find((one) => one !== undefined);
  if (fault !== undefined)
    throw new ApiError('BadRequest', `unable to parse label selector ${JSON.stringify(whole)}: ${fault}`);
}

const common = ['metadata.name', 'metadata.namespace'];
const selectable: Readonly<Record<Resource, readonly string[]>> = {
  pods: [
    ...[...common, 'spec.nodeName', 'spec.restartPolicy', 'spec.schedulerName', 'spec.serviceAccountName'],
    ...['spec.hostNetwork', 'status.phase', 'status.podIP', 'status.nominatedNodeName'],
  ],
  nodes: ['metadata.name', 'spec.unschedulable'],
  namespaces: ['metadata.name', 'status.phase'],
  events: [
    ...common,
    ...['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].map(
      (field) => `involvedObject.${field}`,
    ),
    ...['reason', 'reportingComponent', 'source', 'type'],
  ],
  configmaps: common,
  secrets: [...common, 'type'],
  leases: common,
};
/** What an absent field equals, where that is not the empty text. */
const absent: Readonly<Record<string, string>> = {
  'spec.hostNetwork': 'false',
  'spec.unschedulable': 'false',
};

/** `spec.nodeName=n1,status.phase!=Failed`; @throws ApiError BadRequest. */
export function parseFieldSelector(resource: Resource, text: string): Matcher {
  const tests = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part): Matcher => {
      const match = /^([^=!\s]+)\s*(==|=|!=)\s*(.*)$/.exec(part);
      if (!match)
        throw new ApiError(
          'BadRequest',
          `invalid field selector ${JSON.stringify(text)}: expected FIELD=VALUE at ${JSON.stringify(part)}`,
        );
      const [, field, operator, value] = match;
      if (!selectable[resource].includes(field!))
        throw new ApiError(
          'BadRequest',
          `field label not supported: ${field} (${resource} offer ${selectable[resource].join(', ')})`,
        );
      const path = field === 'source' ? ['source', 'component'] : field!.split('.');
      return (object) => (fieldText(object, path, field!) === value) === (operator !== '!=');
    });
  return (object) => tests.every((test) => test(object));
}

function fieldText(object: unknown, path: readonly string[], field: string): string {
  let value: unknown = object;
  for (const step of path) value = (value as Record<string, unknown> | undefined)?.[step];
  return value === undefined || value === null ? (absent[field] ?? '') : String(value);
}

/** One question for both selectors; undefined when nothing is asked. */
export function parseSelectors(
  resource: Resource,
  options: { labelSelector?: string | undefined; fieldSelector?: string | undefined },
): Matcher | undefined {
  const byLabel = options.labelSelector ? parseLabelSelector(options.labelSelector) : undefined;
  const byField = options.fieldSelector ? parseFieldSelector(resource, options.fieldSelector) : undefined;
  if (!byLabel && !byField) return undefined;
  return (object) => (byLabel?.(object.metadata.labels ?? {}) ?? true) && (byField?.(object) ?? true);
}
