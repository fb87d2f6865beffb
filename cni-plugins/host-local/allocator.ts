// Which address next: round robin through a range set, from the one handed out last. Pure: the store is asked by a function.
// Assumes that a choice may be lost to another, and is then made again. A look costs one question an address that is taken in a row.
import { type Ip, plus, sameIp } from '../../lib/cni/address.ts';
import { inRange, type Range, type RangeSet } from './conf.ts';

export interface Choice {
  readonly ip: Ip;
  readonly range: Range;
}

export type IsTaken = (ip: Ip) => boolean;

/** The next free address after `last`, around the end to the start; undefined when all are taken. */
export function chooseNext(set: RangeSet, last: Ip | undefined, isTaken: IsTaken): Choice | undefined {
  for (const choice of roundRobin(set, last))
    if (!sameIp(choice.ip, choice.range.gateway) && !isTaken(choice.ip)) return choice;
  return undefined;
}

/** Every address of the set once, beginning after `last`. */
export function* roundRobin(set: RangeSet, last: Ip | undefined): Generator<Choice> {
  const at = last ? set.findIndex((range) => inRange(range, last)) : -1;
  if (at < 0 || !last) {
    for (const range of set) yield* walk(range, range.start, range.end);
    return;
  }
  const first = set[at] as Range;
  if (last.value < first.end.value) yield* walk(first, plus(last, 1n), first.end);
  for (const range of [...set.slice(at + 1), ...set.slice(0, at)]) yield* walk(range, range.start, range.end);
  yield* walk(first, first.start, last);
}

function* walk(range: Range, from: Ip, to: Ip): Generator<Choice> {
  for (let ip = from; ip.value <= to.value; ip = plus(ip, 1n)) yield { ip, range };
}

export type Refusal = 'gateway' | 'taken';

/** The very address that was asked for, out of the set that holds it. */
export function chooseRequested(set: RangeSet, wanted: Ip, isTaken: IsTaken): Choice | Refusal | undefined {
  const range = set.find((one) => inRange(one, wanted));
  if (!range) return undefined;
  if (sameIp(wanted, range.gateway)) return 'gateway';
  return isTaken(wanted) ? 'taken' : { ip: wanted, range };
}
