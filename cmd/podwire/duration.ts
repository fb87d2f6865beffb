// Durations as a person writes them: 30s, 1m30s, 2h, 0, and Go's sign for "for ever" (-1s). Pure.
import { UsageError } from './errors.ts';

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds. A bare number is seconds. @throws UsageError that names the flag */
export function parseDuration(text: string, flag: string): number {
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  const whole = parts.map((part) => part[0]).join('');
  if (whole === '' || whole !== text.replace(/^-/, ''))
    throw new UsageError(`invalid value "${text}" for ${flag}: expected a duration such as 30s, 1m30s or 2h`);
  const sum = parts.reduce((total, part) => total + Number(part[1]) * units[part[2]!]!, 0);
  return text.startsWith('-') ? -sum : sum;
}

/** A whole number not below `least`. @throws UsageError that names the flag */
export function parseCount(text: string, flag: string, least: number): number {
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || value < least)
    throw new UsageError(`invalid value "${text}" for ${flag}: expected a whole number, ${least} or more`);
  return value;
}
