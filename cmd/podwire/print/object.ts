// Whole objects as text: -o json, yaml, name, jsonpath. Assumes JSON values. Pure but for loading `yaml` late,
// which costs 15 ms that only -o yaml should pay.
import { jsonpath } from './jsonpath.ts';

/** A v1.List as kubectl prints several objects. */
export function asList(items: readonly unknown[]): object {
  return { apiVersion: 'v1', items, kind: 'List', metadata: { resourceVersion: '' } };
}

export type ObjectFormat =
  | { readonly type: 'json' }
  | { readonly type: 'yaml' }
  | { readonly type: 'jsonpath'; readonly template: string };

export async function renderObject(object: unknown, format: ObjectFormat): Promise<string> {
  if (format.type === 'json') return `${JSON.stringify(object, null, 4)}\n`;
  if (format.type === 'jsonpath') return jsonpath(format.template, object);
  const { stringify } = await import('yaml');
  return stringify(object, {
    lineWidth: 0,
    aliasDuplicateObjects: false,
    sortMapEntries: true,
    version: '1.1',
    indentSeq: false,
  });
}
