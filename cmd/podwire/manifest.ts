// Manifests as a person writes them: files, folders or standard input, YAML of several documents or JSON, flattened
// into single objects that remember where they stood. Assumes UTF-8 and files that fit in memory.
// Parsing is pure and linear; only readSources touches the disk.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { kubernetesTags } from '../../lib/api/yaml-tags.ts';
import { Composer, type Document, isScalar, LineCounter, Parser, type YAMLError } from 'yaml';
import { messageOf } from '../../lib/exec/errors.ts';
import { UsageError } from './errors.ts';

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    name?: string;
    generateName?: string;
    namespace?: string;
    annotations?: Record<string, string>;
    [key: string]: unknown;
  };
  readonly [key: string]: unknown;
}

/** An object with the place it came from, or what was wrong with that place. */
export type Entry =
  | { readonly where: string; readonly manifest: Manifest }
  | { readonly where: string; readonly error: UsageError };

export interface Source {
  /** The path as it was given, or `STDIN`. */
  readonly name: string;
  readonly text: string;
}

/** Reads every -f: a file, a folder (its *.yaml, *.yml and *.json, sorted), or `-` for standard input. */
export function readSources(paths: readonly string[], options: { recursive?: boolean } = {}): Source[] {
  return paths.flatMap((path) => readSource(path, options.recursive === true ? 'deep' : 'flat'));
}

function readSource(path: string, depth: 'flat' | 'deep' | 'inside'): Source[] {
  if (path === '-') return [{ name: 'STDIN', text: readFileSync(0, 'utf8') }];
  if (/^https?:/.test(path))
    throw new UsageError(`${path}: podwire reads files only: fetch it first, or pipe it into -f -`);
  try {
    if (!statSync(path).isDirectory()) return [{ name: path, text: readFileSync(path, 'utf8') }];
    const entries = readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
    return entries.flatMap((entry) => {
      const inside = join(path, entry.name);
      if (entry.isDirectory()) return depth === 'deep' ? readSource(inside, 'deep') : [];
      return /\.(ya?ml|json)$/.test(entry.name) ? [{ name: inside, text: readFileSync(inside, 'utf8') }] : [];
    });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new UsageError(`the path "${path}" does not exist`, { cause: error });
    throw new UsageError(`${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** The objects of one source. A bad document becomes an error entry; the others are still given. */
export function parseManifests(source: Source): Entry[] {
  const lines = new LineCounter();
  const entries: Entry[] = [];
  let number = 0;
  for (const document of documents(source.text, lines)) {
    if (isEmpty(document)) continue;
    number++;
    const where = `${source.name} (document ${number})`;
    const [first] = document.errors;
    if (first)
      entries.push({ where, error: new UsageError(`error parsing ${where}: ${yamlMessage(first, lines)}`) });
    else entries.push(...toEntries(document, where));
  }
  if (number === 0)
    entries.push({ where: source.name, error: new UsageError(`no objects found in ${source.name}`) });
  return entries;
}

/** Nothing but comments, or a bare null: kubectl passes over them too. */
const isEmpty = ({ contents, errors }: Document.Parsed): boolean =>
  errors.length === 0 && (contents === null || (isScalar(contents) && contents.value === null));

function* documents(text: string, lines: LineCounter): Generator<Document.Parsed> {
  const composer = new Composer({ customTags: (tags) => [...kubernetesTags, ...tags], merge: true });
  yield* composer.compose(new Parser(lines.addNewLine).parse(text)) as Generator<Document.Parsed>;
}

function yamlMessage(error: YAMLError, lines: LineCounter): string {
  const { line, col } = lines.linePos(error.pos[0]);
  return `line ${line}, column ${col}: ${error.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '')}`;
}

function toEntries(document: Document.Parsed, where: string): Entry[] {
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    return [
      { where, error: new UsageError(`error parsing ${where}: ${messageOf(error)}`, { cause: error }) },
    ];
  }
  return flatten(value, where);
}

/** A `kind: List` is its items. */
function flatten(value: unknown, where: string): Entry[] {
  const wrong = (what: string): Entry[] => [{ where, error: new UsageError(`${where}: ${what}`) }];
  if (!isRecord(value))
    return wrong(`expected an object with apiVersion, kind and metadata, found ${kindOf(value)}`);
  for (const key of ['apiVersion', 'kind'] as const) {
    if (value[key] === undefined) return wrong(`${key} is missing`);
    if (typeof value[key] !== 'string')
      return wrong(`${key}: expected a string, found ${kindOf(value[key])}`);
  }
  if (String(value.kind).endsWith('List') && Array.isArray(value.items))
    return value.items.flatMap((item, at) => flatten(item, `${where}, item ${at + 1}`));
  if (!isRecord(value.metadata)) return wrong('metadata is missing');
  const { name, generateName } = value.metadata;
  if (typeof name !== 'string' && typeof generateName !== 'string') return wrong('metadata.name is missing');
  return [{ where, manifest: value as unknown as Manifest }];
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `${JSON.stringify(value)} (a ${typeof value})`;
}
