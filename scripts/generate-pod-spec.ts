// Writes docs/pod-spec.md: every field of a Pod's spec and of the types below it, with what podwire does with it.
// Assumes the schema that validates (lib/api/schema.generated.json) and the table that refuses (lib/api/supported.ts).
// Runs at development time only (`npm run generate`); a unit test compares its output with the committed page.
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fieldsOf } from '../lib/api/schema.ts';
import { type FieldState, fieldState } from '../lib/api/supported.ts';

export const outputPath = join(dirname(fileURLToPath(import.meta.url)), '../docs/pod-spec.md');

const head = `# The Pod's spec, field by field

<!-- Made by \`npm run generate\` from the schema that validates and the table that refuses. Do not edit by hand. -->

What podwire does with each field of a Pod's spec and of the types below it. The order of types is that in which the spec
reaches them; types below a refused field are left out.

* **done**: does what Kubernetes says.
* **no effect**: accepted, for manifests carry it and nothing is lost; the remark says why nothing comes of it.
* **refused**: a Pod that sets it is refused by name at admission (422). It is never silently ignored.
`;

const words: Record<FieldState['state'], string> = {
  done: 'done',
  'without effect': 'no effect',
  refused: 'refused',
};

interface Row {
  readonly field: string;
  readonly type: string;
  readonly enum: readonly string[];
  readonly required: boolean;
  readonly state: FieldState;
}

/**
 * Types reachable from PodSpec through fields that are accepted, each once, in the order of the spec; those that only
 * fields without effect reach come last, and have none either.
 */
function reachableTypes(): Map<string, Row[]> {
  const types = new Map<string, Row[]>();
  const queue = ['PodSpec'];
  const idle: string[] = [];
  for (;;) {
    const isIdle = queue.length === 0;
    const name = queue.shift() ?? idle.shift();
    if (name === undefined) return types;
    const fields = fieldsOf(name);
    if (!fields || types.has(name)) continue;
    const rows = Object.entries(fields).map(([field, given]) => ({
      field,
      type: given.type,
      enum: (given.enum ?? []).filter((value) => value !== ''),
      required: given.required,
      state: isIdle ? asItsHolder : fieldState(name, field),
    }));
    types.set(name, rows);
    for (const { type, state } of rows) {
      if (state.state === 'done') queue.push(bare(type));
      else if (state.state === 'without effect') idle.push(bare(type));
    }
  }
}

const asItsHolder: FieldState = { state: 'without effect', remark: 'as the field that holds it' };

/** The type without its list or map. */
const bare = (type: string): string => type.replace(/^(\[\]|\{\})+/, '');

function typeText(type: string, known: ReadonlySet<string>): string {
  if (type.startsWith('[]')) return `list of ${typeText(type.slice(2), known)}`;
  if (type.startsWith('{}')) return `map of ${typeText(type.slice(2), known)}`;
  return known.has(type) ? `[${type}](#${type.toLowerCase()})` : type;
}

function rowText(row: Row, known: ReadonlySet<string>): string {
  const values = row.enum.length > 0 ? `: ${row.enum.join(', ')}` : '';
  const need = row.required ? ' (required)' : '';
  const remark = row.state.remark.replaceAll('|', '\\|');
  return `| \`${row.field}\`${need} | ${typeText(row.type, known)}${values} | ${words[row.state.state]} | ${remark} |`;
}

/** The page as text. */
export function podSpecPage(): string {
  const types = reachableTypes();
  const known = new Set(types.keys());
  const count = (state: FieldState['state']): number =>
    [...types.values()].flat().filter((row) => row.state.state === state).length;
  const sum = `${count('done')} fields done, ${count('without effect')} without effect, ${count('refused')} refused.`;
  const sections = [...types].map(([name, rows]) =>
    [
      `## ${name}`,
      '',
      '| field | type | state | remark |',
      '|---|---|---|---|',
      ...rows.map((row) => rowText(row, known)),
    ].join('\n'),
  );
  return `${[`${head}\n${sum}`, ...sections].join('\n\n')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(outputPath, podSpecPage());
  console.log(`wrote ${outputPath}`);
}
