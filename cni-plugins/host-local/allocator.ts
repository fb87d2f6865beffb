// Which address next: round robin through a range set, from the one handed out last. Pure: the store is asked by functions.
// Assumes that a choice may be lost to another, and is then made again. Costs a question an address; where many are taken
// in a row it looks about at random instead (one in ten free: ten questions), and only after that goes through all of them.
import { type Ip, plus, sameIp } from '../../lib/cni/address.ts';
import { inRange, type Range, type RangeSet } from './conf.ts';

export interface Choice {
  readonly ip: Ip;
  readonly range: Range;
}

export type IsTaken = (ip: Ip) => boolean;

/** What the allocator asks. */
export interface Leases {
  /** One address: a look at the disk. */
  readonly isTaken: IsTaken;
  /** All at once, at the cost of reading the folder; what it gives answers without any. */
  readonly allTaken: () => IsTaken;
  /** A number from 0 up to, but not including, 1. */
  readonly random: () => number;
}

/** Taken addresses in a row before it is worth looking elsewhere, and looks elsewhere before it is worth reading all. */
const inARow = 64;
const looksAbout = 512;

/** The next free address after `last`, around the end to the start; undefined when all are taken. */
export function chooseNext(set: RangeSet, last: Ip | undefined, leases: Leases): Choice | undefined {
  const size = sizeOf(set);
  const first = after(set, last);
  const near = walk({ set, first, steps: size < inARow ? size : inARow }, leases.isTaken);
  if (near || size <= inARow) return near;
  return lookAbout(set, leases) ?? walk({ set, first, steps: size }, leases.allTaken());
}

interface Walk {
  readonly set: RangeSet;
  readonly first: Choice;
  readonly steps: bigint | number;
}

function walk({ set, first, steps }: Walk, isTaken: IsTaken): Choice | undefined {
  let choice = first;
  for (let step = 0; step < steps; step++) {
    if (isFree(choice, isTaken)) return choice;
    choice = after(set, choice.ip);
  }
  return undefined;
}

function lookAbout(set: RangeSet, { isTaken, random }: Leases): Choice | undefined {
  const size = sizeOf(set);
  for (let look = 0; look < looksAbout; look++) {
    const choice = nth(set, (BigInt(Math.floor(random() * 2 ** 53)) * size) >> 53n);
    if (isFree(choice, isTaken)) return choice;
  }
  return undefined;
}

const isFree = (choice: Choice, isTaken: IsTaken): boolean =>
  !sameIp(choice.ip, choice.range.gateway) && !isTaken(choice.ip);

const sizeOfRange = (range: Range): bigint => range.end.value - range.start.value + 1n;
const sizeOf = (set: RangeSet): bigint => set.reduce((sum, range) => sum + sizeOfRange(range), 0n);

/** The address that follows in the set, around its end; the first one after none, or after one of no range. */
export function after(set: RangeSet, last: Ip | undefined): Choice {
  const at = last ? set.findIndex((range) => inRange(range, last)) : -1;
  const range = set[at];
  if (range && last && last.value < range.end.value) return { ip: plus(last, 1n), range };
  const next = set[at + 1] ?? set[0];
  return { ip: next.start, range: next };
}

/** The address at a place from 0 on, counted through all ranges. */
function nth(set: RangeSet, place: bigint): Choice {
  let left = place;
  for (const range of set) {
    if (left < sizeOfRange(range)) return { ip: plus(range.start, left), range };
    left -= sizeOfRange(range);
  }
  return { ip: set[0].start, range: set[0] };
}

export type Refusal = 'gateway' | 'taken';

/** The very address that was asked for, out of the set that holds it. */
export function chooseRequested(set: RangeSet, wanted: Ip, isTaken: IsTaken): Choice | Refusal | undefined {
  const range = set.find((one) => inRange(one, wanted));
  if (!range) return undefined;
  if (sameIp(wanted, range.gateway)) return 'gateway';
  return isTaken(wanted) ? 'taken' : { ip: wanted, range };
}
