// The daemon's log: JSON lines in a pipe or file, one short line each on a terminal.
// Assumes nothing; one write a message.
import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';

const labels: Record<number, string> = {
  10: 'TRACE',
  20: 'DEBUG',
  30: 'INFO',
  40: 'WARN',
  50: 'ERROR',
  60: 'FATAL',
};
const hidden = new Set(['level', 'time', 'msg', 'pid', 'hostname', 'err']);

/** `12:30:01 INFO  message  key=value …` */
export function prettyLine(json: string): string {
  const entry = JSON.parse(json) as Record<string, unknown> & { level: number; time: number; msg?: string };
  const fields = Object.entries(entry).filter(([key]) => !hidden.has(key));
  const shown = fields.map(
    ([key, value]) => `  ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const time = new Date(entry.time).toTimeString().slice(0, 8);
  return `${time} ${(labels[entry.level] ?? '').padEnd(5)} ${entry.msg ?? ''}${shown.join('')}\n`;
}

/** A full disk costs a line of the log, never the daemon. */
function writeOrDrop(fd: number, line: string): void {
  try {
    writeSync(fd, line);
  } catch {
    // There is nowhere left to tell it.
  }
}

export function createLog(level: string, out: typeof process.stderr): Logger {
  const options = { level, base: null };
  if (out.isTTY) return pino(options, { write: (json: string) => void out.write(prettyLine(json)) });
  return pino(options, { write: (json: string) => writeOrDrop(out.fd, json) });
}
