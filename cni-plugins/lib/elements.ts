// Elements of our own nftables sets and maps, each with its owner as comment: put in, found again, taken out.
// Assumes tables that only these functions change. Putting in is one transaction, O(1) in the kernel; finding lists
// the table once (20 us an element). The skeleton (chains, rules) is sent only where it is missing.
import { isAbsent, KernelError } from '../../lib/kernel/errors.ts';
import type { KernelOptions } from '../../lib/kernel/ip.ts';
import { type NftObject, nftApply, nftList } from '../../lib/kernel/nftables.ts';

export interface Element {
  /** `family name` of the table. */
  readonly table: string;
  readonly set: string;
  /** As nft takes it: `tcp . 8080`, `"br0" . 10.0.0.2`. */
  readonly key: string;
  /** Of a map: `10.0.0.2 . 80`. */
  readonly value?: string;
}

export interface OwnedElement extends Element {
  /** '' for an element without a comment. */
  readonly comment: string;
}

/** Text in nft's quotes for a name that is an interface's; such names are checked to hold no quote. Pure. */
export const quoted = (name: string): string => `"${name}"`;

const withValue = ({ value }: Element): string => (value === undefined ? '' : ` : ${value}`);

/** Fails with EEXIST where the key is there: two can never hold one. `comment` comes quoted. Pure. */
export const createLine = (element: Element, comment: string): string =>
  `create element ${element.table} ${element.set} { ${element.key} comment ${comment}${withValue(element)} }`;

/** Puts an element in, and takes it over where it has another owner. (nft refuses to delete what is not there.) Pure. */
export const takeLines = (element: Element, comment: string): string[] => [
  ...clearLines(element),
  createLine(element, comment),
];

/** ENOENT where it is gone meanwhile. Pure. */
export const deleteLine = ({ table, set, key }: Element): string =>
  `delete element ${table} ${set} { ${key} }`;

const script = (lines: readonly string[]): string => `${lines.join('\n')}\n`;

/** Takes an element out, whoever's it is and whether it is there or not. Pure. */
export const clearLines = (element: Element): string[] => [
  `add element ${element.table} ${element.set} { ${element.key}${withValue(element)} }`,
  deleteLine(element),
];

/** One transaction: `lines` where the skeleton stands already, else skeleton and lines (true). @throws KernelError */
export async function applyOn(
  skeleton: readonly string[],
  lines: readonly string[],
  options: KernelOptions,
): Promise<boolean> {
  try {
    await steadily(() => nftApply(script(lines), options));
    return false;
  } catch (error) {
    if (!isAbsent(error)) throw error;
    await steadily(() => nftApply(script([...skeleton, ...lines]), options));
    return true;
  }
}

/** Takes out every element that `isStale`; gives them. What goes away meanwhile is looked at again. */
export async function dropElements(
  table: string,
  isStale: (element: OwnedElement) => boolean,
  options: KernelOptions,
): Promise<OwnedElement[]> {
  for (let attempt = 1; ; attempt++) {
    const stale = elementsIn(table, await listTable(table, options)).filter(isStale);
    if (stale.length === 0) return [];
    try {
      await steadily(() => nftApply(script(stale.map(deleteLine)), options));
      return stale;
    } catch (error) {
      if (!isAbsent(error) || attempt === 5) throw error;
    }
  }
}

/** The table as `nft -j` shows it; empty where there is none. */
export async function listTable(table: string, options: KernelOptions): Promise<NftObject[]> {
  return (await steadily(() => nftList(['table', ...table.split(' ')], options))) ?? [];
}

/** The kernel turns away who looked before another's change and writes after it. Again, then. */
async function steadily<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      const interrupted = error instanceof KernelError && /Interrupted system call/.test(error.message);
      if (!interrupted || attempt === 20) throw error;
    }
  }
}

/** All elements of a listed table. Source of the shape: libnftables-json(5), set and map. Pure. */
export function elementsIn(table: string, objects: readonly NftObject[]): OwnedElement[] {
  return objects.flatMap((object) => {
    const holder = object.set ?? object.map;
    if (!holder || !Array.isArray(holder.elem)) return [];
    const types = [holder.type].flat().map(String);
    return holder.elem.map((item: unknown): OwnedElement => {
      const [left, right] = object.map && Array.isArray(item) ? item : [item, undefined];
      const elem = (left as { elem?: { val: unknown; comment?: string } } | null)?.elem;
      return {
        table,
        set: String(holder.name),
        key: wordsOf(elem ? elem.val : left, types),
        ...(right === undefined ? {} : { value: wordsOf(right, []) }),
        comment: elem?.comment ?? '',
      };
    });
  });
}

function wordsOf(value: unknown, types: readonly string[]): string {
  const concat = (value as { concat?: unknown[] } | null)?.concat;
  const parts = Array.isArray(concat) ? concat : [value];
  return parts.map((part, at) => (types[at] === 'ifname' ? quoted(String(part)) : String(part))).join(' . ');
}

/** Names of the chains of a listed table that hold at least one rule. Pure. */
export const chainsWithRules = (objects: readonly NftObject[]): ReadonlySet<string> =>
  new Set(objects.flatMap((object) => (object.rule ? [String(object.rule.chain)] : [])));
