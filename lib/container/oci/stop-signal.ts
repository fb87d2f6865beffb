// STOPSIGNAL of an image as a number. Pure. Source: OCI image-spec (SIGNAME or number), signal(7).
import { constants } from 'node:os';

const realTimeMin = 34; // glibc keeps 32 and 33
const realTimeMax = 64;

/** `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`; '' and what is no signal mean SIGTERM. */
export function stopSignalNumber(text: string): number {
  const name = text.trim().toUpperCase();
  const number = /^[0-9]+$/.test(name) ? Number(name) : byName(name.startsWith('SIG') ? name : `SIG${name}`);
  return number !== undefined && number >= 1 && number <= realTimeMax ? number : constants.signals.SIGTERM;
}

function byName(name: string): number | undefined {
  const realTime = name.match(/^SIGRT(MIN|MAX)(?:([+-])([0-9]{1,2}))?$/);
  if (!realTime) return constants.signals[name as NodeJS.Signals];
  const offset = Number(realTime[3] ?? 0) * (realTime[2] === '-' ? -1 : 1);
  return (realTime[1] === 'MIN' ? realTimeMin : realTimeMax) + offset;
}
