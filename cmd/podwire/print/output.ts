// The value of -o. Pure.
import { UsageError } from '../errors.ts';

export type Output =
  | { readonly type: 'table' }
  | { readonly type: 'wide' }
  | { readonly type: 'name' }
  | { readonly type: 'json' }
  | { readonly type: 'yaml' }
  | { readonly type: 'jsonpath'; readonly template: string };

/** @throws UsageError when the text is none of `allowed` */
export function parseOutput<T extends Output['type']>(
  text: string,
  allowed: readonly T[],
): Output & { type: T } {
  const names: readonly string[] = allowed;
  const [type = '', ...rest] = text.split('=');
  const template = rest.join('=');
  if (type === 'jsonpath' && names.includes('jsonpath')) {
    if (template === '')
      throw new UsageError('-o jsonpath needs a template, e.g. -o jsonpath={.status.podIP}');
    return { type, template } as Output & { type: T };
  }
  if (names.includes(type) && rest.length === 0) return { type } as Output & { type: T };
  const shown = names
    .filter((each) => each !== 'table')
    .map((each) => (each === 'jsonpath' ? 'jsonpath=TEMPLATE' : each));
  const formats = shown.join(',');
  throw new UsageError(
    `unable to match a printer suitable for the output format "${text}", allowed formats are: ${formats}`,
  );
}
