// Turns the declarations of the dev dependency kubernetes-models into lib/api/schema.generated.json: every field
// of every object type we serve. Assumes the very regular form in which that package is itself generated.
// Runs at development time only (`npm run generate`); a unit test compares its output with the committed file.
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Field {
  /** string, boolean, integer, any, or a type's name; `[]` before it: a list; `{}` before it: a map from string. */
  type: string;
  required?: true;
  enum?: string[];
}
interface Schema {
  /** `group`: where Kubernetes declares the type, `meta` for the machinery; absent: the core group. */
  types: Record<string, { group?: string; fields: Record<string, Field> }>;
}

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const models = join(root, 'node_modules/kubernetes-models');
const machinery = join(root, 'node_modules/@kubernetes-models/apimachinery');
export const outputPath = join(root, 'lib/api/schema.generated.json');

/** Types that are not objects of fields; schema.ts knows how to check each. */
const scalars: Record<string, string> = {
  Quantity: 'Quantity',
  IntOrString: 'IntOrString',
  Time: 'Time',
  MicroTime: 'MicroTime',
  FieldsV1: 'any',
};

const entryPoints = [
  ...['Pod', 'Node', 'Namespace', 'Event', 'Binding', 'ConfigMap', 'Secret'].map((kind) =>
    join(models, 'v1', `${kind}.d.ts`),
  ),
  join(models, 'coordination.k8s.io/v1/Lease.d.ts'),
  join(models, 'policy/v1/Eviction.d.ts'),
  join(models, 'authentication.k8s.io/v1/SelfSubjectReview.d.ts'),
  join(models, 'authorization.k8s.io/v1/SelfSubjectAccessReview.d.ts'),
  join(machinery, 'apis/meta/v1/DeleteOptions.d.ts'),
];

/** Reads all types reachable from the entry points. */
export function generateSchema(): Schema {
  const types: Schema['types'] = {};
  const queue = [...entryPoints];
  const seen = new Set<string>();
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    if (seen.has(file)) continue;
    seen.add(file);
    const parsed = parseDeclaration(file);
    const group = groupOf(file);
    types[parsed.name] = { ...(group === '' ? {} : { group }), fields: parsed.fields };
    queue.push(...parsed.references);
  }
  return { types: Object.fromEntries(Object.entries(types).sort(([a], [b]) => (a < b ? -1 : 1))) };
}

/** '' for the core group. */
function groupOf(file: string): string {
  if (file.startsWith(machinery)) return 'meta';
  const folder = basename(dirname(dirname(file)));
  return folder === 'kubernetes-models' ? '' : folder;
}

function parseDeclaration(file: string): {
  name: string;
  fields: Record<string, Field>;
  references: string[];
} {
  const text = readFileSync(file, 'utf8').replaceAll(/\/\*\*[\s\S]*?\*\//g, '');
  const name = basename(file, '.d.ts');
  const imports = new Map<string, string>();
  for (const [, symbol, from] of text.matchAll(/^import \{ (I\w+) \} from "([^"]+)";$/gm))
    imports.set(symbol!, resolveImport(file, from!));
  const body = new RegExp(
    `^export interface I${name}(?: extends TypeMeta)? \\{\\n([\\s\\S]*?)^\\}`,
    'm',
  ).exec(text)?.[1];
  if (body === undefined)
    throw new Error(`${file}: no interface I${name}: has kubernetes-models changed its form?`);
  const fields: Record<string, Field> = {};
  const references: string[] = [];
  const flat = body.replaceAll(/\{\s*\[key: string\]:\s*([^;]+);\s*\}/g, 'Map<$1>');
  for (const line of flat.split('\n').filter((text) => text.trim() !== '')) {
    const match = /^\s+"([^"]+)"(\?)?: (.+);$/.exec(line);
    if (!match) throw new Error(`${file}: cannot read the line: ${line}`);
    const [, field, optional, written] = match;
    fields[field!] = {
      ...parseType(written!, { file, imports, name, references }),
      ...(optional ? {} : { required: true as const }),
    };
  }
  return { name, fields, references };
}

interface Scope {
  file: string;
  name: string;
  imports: Map<string, string>;
  references: string[];
}

function parseType(written: string, scope: Scope): Field {
  const list = /^Array<(.+)>$/.exec(written);
  if (list) return nest('[]', parseType(list[1]!, scope));
  const map = /^Map<(.+)>$/.exec(written);
  if (map) return nest('{}', parseType(map[1]!, scope));
  if (written === 'string' || written === 'boolean') return { type: written };
  // Every number of the core group is an int32 or int64 (api/openapi-spec of Kubernetes).
  if (written === 'number') return { type: 'integer' };
  if (/^"[^"]*"( \| "[^"]*")*$/.test(written))
    return { type: 'string', enum: JSON.parse(`[${written.replaceAll(' | ', ',')}]`) };
  const target = scope.imports.get(written) ?? (written.endsWith(scope.name) ? scope.file : undefined);
  if (target === undefined) throw new Error(`${scope.file}: what is ${written}?`);
  const name = basename(target, '.d.ts');
  const scalar = scalars[name];
  if (scalar !== undefined) return { type: scalar };
  scope.references.push(target);
  return { type: name };
}

const nest = (prefix: string, inner: Field): Field => ({ ...inner, type: prefix + inner.type });

function resolveImport(file: string, from: string): string {
  if (from.startsWith('./')) return join(dirname(file), from.replace(/\.js$/, '.d.ts'));
  if (from.startsWith('@kubernetes-models/apimachinery/'))
    return join(machinery, `${from.slice('@kubernetes-models/apimachinery/'.length)}.d.ts`);
  return from;
}

/** One type a line: compact, and a diff still shows what a new Kubernetes version changed. */
export function formatSchema(schema: Schema): string {
  const lines = Object.entries(schema.types).map(
    ([name, type]) => `${JSON.stringify(name)}:${JSON.stringify(type)}`,
  );
  return `{"types":{\n${lines.join(',\n')}\n}}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(outputPath, formatSchema(generateSchema()));
  console.log(`wrote ${outputPath}`);
}
