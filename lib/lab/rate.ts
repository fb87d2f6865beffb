// Rates as tc writes them. Pure.
import { LabError } from './plan.ts';

const units: Readonly<Record<string, number>> = { bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 };

/** `10mbit` → bits per second. @throws LabError LAB_FAULT */
export function parseRate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmg]?bit)$/i.exec(text);
  const rate = match ? Number(match[1]) * (units[match[2]!.toLowerCase()] ?? 0) : 0;
  if (rate >= 1000) return Math.round(rate);
  throw new LabError('LAB_FAULT', `--rate ${text}: expected a rate of at least 1kbit, e.g. 10mbit`);
}
