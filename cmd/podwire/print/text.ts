// Text that lines up: tables as kubectl draws them, blocks of "Key:  value", bars, colours.
// Assumes one column a character. Pure; linear in the cells.

/** Rows under a header, three spaces apart, no space at a line's end. */
export function renderTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  options: { noHeaders?: boolean; widths?: readonly number[] } = {},
): string {
  const lines = options.noHeaders ? rows : [header, ...rows];
  const widths = options.widths ?? columnWidths(lines);
  return lines.map((line) => `${renderRow(line, widths)}\n`).join('');
}

/** The widths that `renderTable` would choose, to keep them while a watch goes on. */
export function columnWidths(lines: readonly (readonly string[])[]): number[] {
  const widths: number[] = [];
  for (const line of lines)
    for (const [at, cell] of line.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  return widths;
}

export function renderRow(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, at) => (at === cells.length - 1 ? cell : cell.padEnd(widths[at] ?? 0)))
    .join('   ')
    .trimEnd();
}

/** A line of `describe`: a key with its value, several values below each other, or a heading with a block below it. */
export type Field = readonly [key: string, value: string | readonly string[] | readonly Field[] | undefined];

/** Fields with their values in one column; undefined values are left out. */
export function renderFields(fields: readonly Field[], indent = ''): string {
  const shown = fields.filter(([, value]) => value !== undefined);
  const simple = shown.filter(([, value]) => !isBlock(value));
  const width = Math.max(0, ...simple.map(([key]) => key.length)) + 3;
  return shown
    .map(([key, value]) => {
      const label = `${indent}${key}:`;
      if (isBlock(value)) return `${label}\n${renderFields(value, `${indent}  `)}`;
      const lines = typeof value === 'string' ? value.split('\n') : (value as readonly string[]);
      const column = indent.length + width;
      return lines
        .map((line, at) => `${(at === 0 ? label : '').padEnd(column)}${line}`.trimEnd())
        .join('\n')
        .concat('\n');
    })
    .join('');
}

const isBlock = (value: Field[1]): value is readonly Field[] =>
  Array.isArray(value) && Array.isArray(value[0]);

export interface Bar {
  readonly name: string;
  readonly start: number;
  readonly ms: number;
}

/** Steps over a common time axis, e.g. where the time of a Pod's start went. `width` in characters for the axis. */
export function renderBars(bars: readonly Bar[], options: { indent?: string; width?: number } = {}): string {
  const { indent = '  ', width = 40 } = options;
  const total = Math.max(0.1, ...bars.map((bar) => bar.start + bar.ms));
  const longest = Math.max(...bars.map((bar) => bar.name.length));
  const ordered = bars.toSorted((a, b) => a.start - b.start);
  return ordered
    .map((bar) => {
      const from = Math.min(width - 1, Math.floor((bar.start / total) * width));
      const cells = Math.max(1, Math.min(width - from, Math.round((bar.ms / total) * width)));
      const axis = `${' '.repeat(from)}${'█'.repeat(cells)}`.padEnd(width);
      return `${indent}${bar.name.padEnd(longest)}  ${bar.ms.toFixed(1).padStart(7)} ms  |${axis}|\n`;
    })
    .join('');
}

const codes = { red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36, grey: 90, bold: 1 } as const;
export type Colour = keyof typeof codes;
export type Paint = (colour: Colour, text: string) => string;

/** Colours on a terminal, plain text elsewhere. Source of NO_COLOR: no-color.org. */
export function painter(wanted: 'colour' | 'plain'): Paint {
  if (wanted === 'plain') return (_, text) => text;
  return (colour, text) => `\u001b[${codes[colour]}m${text}\u001b[0m`;
}
