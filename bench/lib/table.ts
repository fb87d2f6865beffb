// Tables in text: the first column to the left, figures to the right.
// Assumes short single-width cells. Pure; O(cells).

export type Cell = string | number | undefined;

/** Lines of a table under a rule; `undefined` is an empty cell. Numbers are given as they are: format them before. */
export function formatTable(head: readonly string[], rows: ReadonlyArray<readonly Cell[]>): string {
  const cells = [head, ...rows].map((row) => head.map((_, at) => `${row[at] ?? ''}`));
  const widths = head.map((_, at) => Math.max(...cells.map((row) => row[at]!.length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!)))
      .join('  ')
      .trimEnd();
  const [first, ...rest] = cells.map(line);
  const rule = widths.map((width) => '─'.repeat(width)).join('  ');
  return [first, rule, ...rest].map((text) => `  ${text}\n`).join('');
}

/** Three significant figures at least, never more than one digit after the point beyond 10: 0.53, 4.21, 45.2, 1312. */
export function figure(value: number): string {
  if (Math.abs(value) >= 1000) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
