// kubectl's jsonpath templates, the part of them that scripts use: {.a.b}, [0], [-1], [*], [a:b], ['key'], ..name,
// [?(@.x=="y")], {range …}{end}, {"text"}. Assumes JSON values. Pure; linear in what the path visits.
import { UsageError } from '../errors.ts';

type Step =
  | { readonly type: 'key'; readonly key: string }
  | { readonly type: 'every' }
  | { readonly type: 'deep'; readonly key: string }
  | { readonly type: 'slice'; readonly from: number | undefined; readonly to: number | undefined }
  | { readonly type: 'index'; readonly at: number }
  | { readonly type: 'filter'; readonly path: readonly Step[]; readonly op: string; readonly value: unknown };

type Part =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'path'; readonly steps: readonly Step[] }
  | { readonly type: 'range'; readonly steps: readonly Step[]; readonly body: readonly Part[] };

/** The template filled in from `value`. Missing fields give nothing, as with kubectl. @throws UsageError */
export function jsonpath(template: string, value: unknown): string {
  const tokens = tokenize(template.includes('{') ? template : `{${template}}`);
  const [parts, rest] = parseParts(tokens, template);
  if (rest.length > 0) throw new UsageError(`jsonpath ${template}: {end} without {range}`);
  return fill(parts, value);
}

/** Every value that a bare path such as `.status.phase` reaches. @throws UsageError */
export function jsonpathValues(path: string, value: unknown): unknown[] {
  const bare = path.replace(/^\{(.*)\}$/s, '$1');
  return walk(parsePath(bare, path), [value]);
}

function fill(parts: readonly Part[], value: unknown): string {
  return parts
    .map((part) => {
      if (part.type === 'text') return part.text;
      const found = walk(part.steps, [value]);
      if (part.type === 'range') return found.map((item) => fill(part.body, item)).join('');
      return found.map(toText).join(' ');
    })
    .join('');
}

const toText = (value: unknown): string =>
  value === undefined || value === null
    ? ''
    : typeof value === 'object'
      ? JSON.stringify(value)
      : String(value);

type Token = { readonly code: boolean; readonly text: string };

function tokenize(template: string): Token[] {
  const tokens: Token[] = [];
  const pattern = /\{((?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^}"'])*)\}|([^{]+)/gsy;
  while (pattern.lastIndex < template.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(template);
    if (!match) throw new UsageError(`jsonpath ${template}: unclosed action at column ${at + 1}`);
    tokens.push(
      match[1] === undefined ? { code: false, text: match[2]! } : { code: true, text: match[1].trim() },
    );
  }
  return tokens;
}

/** Parts up to {end} or the end, and the tokens that follow. */
function parseParts(tokens: readonly Token[], template: string): [Part[], readonly Token[]] {
  const parts: Part[] = [];
  let rest = tokens;
  while (rest.length > 0) {
    const token = rest[0]!;
    if (token.code && token.text === 'end') return [parts, rest];
    rest = rest.slice(1);
    if (!token.code) parts.push({ type: 'text', text: token.text });
    else if (/^["']/.test(token.text)) parts.push({ type: 'text', text: unquote(token.text) });
    else if (/^range\s/.test(token.text)) {
      const [body, after] = parseParts(rest, template);
      if (after.length === 0) throw new UsageError(`jsonpath ${template}: {range} without {end}`);
      parts.push({ type: 'range', steps: parsePath(token.text.slice(6).trim(), template), body });
      rest = after.slice(1);
    } else parts.push({ type: 'path', steps: parsePath(token.text, template) });
  }
  return [parts, rest];
}

const unquote = (text: string): string =>
  text.slice(1, -1).replace(/\\(.)/gs, (_, c: string) => ({ n: '\n', t: '\t', r: '\r' })[c] ?? c);

const stepPattern =
  /\.\.([\w-]+)|\.?\[\?\(([^)]*)\)\]|\.?\[(-?\d+)\]|\.?\[(-?\d*):(-?\d*)\]|\.?\[\*\]|\.\*|\.?\[(?:'([^']*)'|"([^"]*)")\]|\.((?:[\w/-]|\\.)+)/gsy;

function parsePath(path: string, template: string): Step[] {
  const text = path.replace(/^[$@]/, '');
  if (text === '' || text === '.') return [];
  const from = /^[[.]/.test(text) ? text : `.${text}`;
  const steps: Step[] = [];
  // A pattern of its own: a filter inside is parsed by this very function.
  const pattern = new RegExp(stepPattern);
  while (pattern.lastIndex < from.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(from);
    if (!match) throw new UsageError(`jsonpath ${template}: not understood from "${from.slice(at)}" on`);
    steps.push(toStep(match, template));
  }
  return steps;
}

function toStep(match: RegExpExecArray, template: string): Step {
  const [, deep, filter, index, from, to, single, double, key] = match;
  if (deep !== undefined) return { type: 'deep', key: deep };
  if (filter !== undefined) return parseFilter(filter, template);
  if (index !== undefined) return { type: 'index', at: Number(index) };
  if (from !== undefined)
    return { type: 'slice', from: from ? Number(from) : undefined, to: to ? Number(to) : undefined };
  const name = single ?? double ?? key?.replace(/\\(.)/g, '$1');
  return name === undefined ? { type: 'every' } : { type: 'key', key: name };
}

function parseFilter(text: string, template: string): Step {
  const match = /^\s*@([^=!<>\s]*)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?))?\s*$/s.exec(text);
  if (!match)
    throw new UsageError(
      `jsonpath ${template}: filter [?(${text})] is not understood; expected @.field==value`,
    );
  const [, path, op = 'exists', literal = ''] = match;
  const value = /^["']/.test(literal)
    ? unquote(literal)
    : literal === ''
      ? undefined
      : readLiteral(literal, template);
  return { type: 'filter', path: parsePath(path!, template), op, value };
}

function readLiteral(literal: string, template: string): unknown {
  try {
    return JSON.parse(literal);
  } catch {
    throw new UsageError(
      `jsonpath ${template}: ${literal} is neither a number, true, false nor a quoted text`,
    );
  }
}

function walk(steps: readonly Step[], values: readonly unknown[]): unknown[] {
  return steps.reduce<unknown[]>((found, step) => found.flatMap((value) => take(step, value)), [...values]);
}

function take(step: Step, value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  if (step.type === 'key')
    return Object.hasOwn(value, step.key) ? [(value as Record<string, unknown>)[step.key]] : [];
  if (step.type === 'every') return Object.values(value);
  if (step.type === 'deep') return deepValues(value, step.key);
  if (!Array.isArray(value)) return [];
  if (step.type === 'index') return value.at(step.at) === undefined ? [] : [value.at(step.at)];
  if (step.type === 'slice') return value.slice(step.from, step.to);
  return value.filter((item) => matches(step, item));
}

function deepValues(value: object, key: string): unknown[] {
  const own =
    Object.hasOwn(value, key) && !Array.isArray(value) ? [(value as Record<string, unknown>)[key]] : [];
  const children = Object.values(value).filter((child) => typeof child === 'object' && child !== null);
  return [...own, ...children.flatMap((child) => deepValues(child as object, key))];
}

function matches(step: Step & { type: 'filter' }, item: unknown): boolean {
  const [left] = walk(step.path, [item]);
  const right = step.value;
  if (step.op === 'exists') return left !== undefined;
  if (step.op === '==') return left === right;
  if (step.op === '!=') return left !== right;
  if (typeof left !== typeof right || (typeof left !== 'number' && typeof left !== 'string')) return false;
  const order = left < (right as typeof left) ? -1 : left > (right as typeof left) ? 1 : 0;
  return { '<': order < 0, '<=': order <= 0, '>': order > 0, '>=': order >= 0 }[step.op] === true;
}
