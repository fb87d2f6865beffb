// What a check of `podwire doctor` finds, and how findings are shown. Pure.
import type { Paint } from '../print/text.ts';

export interface Finding {
  readonly name: string;
  readonly state: 'ok' | 'warn' | 'fail';
  readonly detail: string;
  /** A command that mends it, or what a person can do. */
  readonly mend?: string;
}

export const ok = (name: string, detail: string): Finding => ({ name, state: 'ok', detail });
export const warn = (name: string, detail: string, mend?: string): Finding => ({
  name,
  state: 'warn',
  detail,
  ...(mend ? { mend } : {}),
});
export const fail = (name: string, detail: string, mend?: string): Finding => ({
  name,
  state: 'fail',
  detail,
  ...(mend ? { mend } : {}),
});

const colour = { ok: 'green', warn: 'yellow', fail: 'red' } as const;

export function renderFindings(findings: readonly Finding[], paint: Paint): string {
  const width = Math.max(...findings.map((each) => each.name.length));
  const lines = findings.flatMap(({ name, state, detail, mend }) => [
    `${paint(colour[state], state.padEnd(4))}  ${name.padEnd(width)}  ${detail}`,
    ...(mend ? [`${' '.repeat(6 + width + 2)}${paint('cyan', `→ ${mend}`)}`] : []),
  ]);
  const count = (state: Finding['state']): number => findings.filter((each) => each.state === state).length;
  return `${lines.join('\n')}\n\n${summary(count('fail'), count('warn'))}\n`;
}

function summary(failures: number, warnings: number): string {
  const warned = warnings === 0 ? '' : `${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`;
  if (failures === 0) return `This machine is fit for podwire${warned ? ` (${warned})` : ''}.`;
  return `${failures} ${failures === 1 ? 'thing keeps' : 'things keep'} podwire from working here${warned ? ` (and ${warned})` : ''}.`;
}
