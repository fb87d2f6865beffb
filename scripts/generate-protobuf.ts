// Writes lib/api/protobuf.generated.json: the protobuf number of every field of every type in schema.generated.json.
// Assumes Kubernetes' Go sources, which alone tell which fields are pointers: node scripts/generate-protobuf.ts API APIMACHINERY,
// the folders that `go mod download -json k8s.io/api@v0.36.0 k8s.io/apimachinery@v0.36.0` names. Runs at development time only.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import schema from '../lib/api/schema.generated.json' with { type: 'json' };

/**
 * By number: a field's name. `!` after it: a zero that was sent is meant (a pointer in Go, or always in JSON); `#`: bytes,
 * base64 in JSON. `~Type`: the fields of that type belong to the holder itself.
 */
type Numbers = Record<string, string>;

const output = join(dirname(fileURLToPath(import.meta.url)), '../lib/api/protobuf.generated.json');

const structs = /^type (\w+) struct \{\n([\s\S]*?)^\}/gm;
const member =
  /^\t(?:(\w+)[ \t]+)?([\w.*[\]]+)[ \t]+`json:"([^"]*)"[^`]*? proto(?:buf)?:"\w+,(\d+),[^"]*"[^`]*`/gm;

/** Every struct of a Go file: its fields, by number. */
function readStructs(file: string): Map<string, Numbers> {
  const found = new Map<string, Numbers>();
  for (const [, struct = '', body = ''] of readFileSync(file, 'utf8').matchAll(structs)) {
    const numbers: Numbers = {};
    for (const [, , type = '', json = '', number = ''] of body.matchAll(member))
      numbers[number] = fieldOf(type, json.split(','));
    found.set(struct, numbers);
  }
  return found;
}

function fieldOf(type: string, [name = '', ...options]: readonly string[]): string {
  if (name === '') return `~${type.split('.').at(-1)}`;
  if (type.includes('[]byte')) return `${name}#`;
  return type.startsWith('*') || !options.includes('omitempty') ? `${name}!` : name;
}

function generate(api: string, machinery: string): Record<string, Numbers> {
  const sources = new Map<string, Map<string, Numbers>>();
  const structsOf = (group: string): Map<string, Numbers> => {
    const found = sources.get(group) ?? readStructs(sourceOf(group));
    sources.set(group, found);
    return found;
  };
  const sourceOf = (group: string): string =>
    group === 'meta'
      ? join(machinery, 'pkg/apis/meta/v1/types.go')
      : join(api, group === '' ? 'core' : group.split('.')[0]!, 'v1/types.go');
  const types: Record<string, Numbers> = {};
  const add = (name: string, group: string): void => {
    const numbers = structsOf(group).get(name);
    if (!numbers) throw new Error(`no Go struct ${name} of group "${group}"`);
    types[name] = numbers;
    for (const field of Object.values(numbers))
      if (field.startsWith('~') && !types[field.slice(1)]) add(field.slice(1), group);
  };
  for (const [name, { group = '' }] of Object.entries(schema.types as Record<string, { group?: string }>))
    add(name, group);
  return Object.fromEntries(Object.entries(types).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const [api, machinery] = process.argv.slice(2);
if (!api || !machinery) throw new Error('usage: node scripts/generate-protobuf.ts API APIMACHINERY');
const lines = Object.entries(generate(api, machinery)).map(
  ([name, numbers]) => `${JSON.stringify(name)}:${JSON.stringify(numbers)}`,
);
writeFileSync(output, `{\n${lines.join(',\n')}\n}\n`);
console.log(`wrote ${output}`);
