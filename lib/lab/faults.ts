// Faults of a lab's underlay: cut cables between machines, lost packets, slow cables. One table, one transaction each.
// Assumes the bridge's namespace and its ports, named after the machines. nftables drops, tc slows; O(faults).
import { parseRate } from './rate.ts';
import { LabError } from './plan.ts';

/** Two machines that do not hear each other; in both directions. */
export type Cut = readonly [string, string];

export interface Impairment {
  /** Lost packets, 0 to 100 %. */
  readonly lossPercent?: number;
  /** Bits per second. */
  readonly rate?: number;
  /** Milliseconds each way: needs netem in the kernel. */
  readonly delayMs?: number;
}

export interface Faults {
  readonly cuts: readonly Cut[];
  /** By machine. */
  readonly impaired: Readonly<Record<string, Impairment>>;
}

export const noFaults: Faults = { cuts: [], impaired: {} };

/** `partition A B …`: one machine alone is cut from all others, several from each other. */
export function cut(faults: Faults, names: readonly string[], all: readonly string[]): Faults {
  const [only, ...more] = names;
  if (only === undefined || new Set(names).size < names.length)
    throw new LabError('LAB_NO_NODE', 'partition: name one node, or two and more, each once');
  const others = more.length > 0 ? names : all;
  const from = more.length > 0 ? names : [only];
  const pairs = from.flatMap((a) => others.filter((b) => b !== a).map((b): Cut => (a < b ? [a, b] : [b, a])));
  const known = new Map([...faults.cuts, ...pairs].map((pair) => [pair.join(' '), pair]));
  return { ...faults, cuts: [...known.values()] };
}

/** Heals all, or what the named machines suffer from. */
export function heal(faults: Faults, names: readonly string[]): Faults {
  if (names.length === 0) return noFaults;
  const touched = (name: string): boolean => names.includes(name);
  return {
    cuts: faults.cuts.filter(([a, b]) => !touched(a) && !touched(b)),
    impaired: Object.fromEntries(Object.entries(faults.impaired).filter(([name]) => !touched(name))),
  };
}

export function impair(faults: Faults, names: readonly string[], how: Impairment): Faults {
  const added = Object.fromEntries(names.map((name) => [name, { ...faults.impaired[name], ...how }]));
  return { ...faults, impaired: { ...faults.impaired, ...added } };
}

/** `1%`, `10mbit`, `20ms`. @throws LabError LAB_FAULT */
export function parseImpairment(given: { loss?: string; rate?: string; delay?: string }): Impairment {
  if (given.loss === undefined && given.rate === undefined && given.delay === undefined)
    throw new LabError('LAB_FAULT', 'how bad? give --loss, --rate or --delay');
  const loss = given.loss === undefined ? undefined : /^(\d+(?:\.\d+)?)%?$/.exec(given.loss)?.[1];
  const delay = given.delay === undefined ? undefined : /^(\d+(?:\.\d+)?)(?:ms)?$/.exec(given.delay)?.[1];
  if (given.loss !== undefined && (loss === undefined || Number(loss) > 100))
    throw new LabError('LAB_FAULT', `--loss ${given.loss}: expected a percentage, e.g. 1%`);
  if (given.delay !== undefined && delay === undefined)
    throw new LabError('LAB_FAULT', `--delay ${given.delay}: expected milliseconds, e.g. 20ms`);
  return {
    ...(loss === undefined ? {} : { lossPercent: Number(loss) }),
    ...(delay === undefined ? {} : { delayMs: Number(delay) }),
    ...(given.rate === undefined ? {} : { rate: parseRate(given.rate) }),
  };
}

const table = 'bridge podwire-lab';

/** The whole table of cuts and losses, as one transaction that replaces the one before. Pure. */
export function faultTable({ cuts, impaired }: Faults): string {
  const rules = cuts.flatMap(([a, b]) => [
    `    iifname "${a}" oifname "${b}" counter drop comment "partition"`,
    `    iifname "${b}" oifname "${a}" counter drop comment "partition"`,
  ]);
  for (const [name, { lossPercent }] of Object.entries(impaired)) {
    if (!lossPercent) continue;
    const mille = Math.round(lossPercent * 100);
    for (const way of ['iifname', 'oifname'])
      rules.push(`    ${way} "${name}" numgen random mod 10000 < ${mille} counter drop comment "loss"`);
  }
  const chain = [
    '  chain forward {',
    '    type filter hook forward priority 0; policy accept;',
    ...rules,
    '  }',
  ];
  return [`add table ${table}`, `delete table ${table}`, `table ${table} {`, ...chain, '}', ''].join('\n');
}
