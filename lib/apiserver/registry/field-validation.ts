// ?fieldValidation=Strict|Warn|Ignore: what becomes of fields that no schema knows, and of fields that a body has twice.
// Assumes that what is known but not supported is refused elsewhere, whatever is asked (lib/api/supported.ts). O(body).
// Source: k8s.io/apimachinery/pkg/apis/meta/v1 (FieldValidation…). Kubernetes warns unless told; here it is Strict.
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ApiError } from '../../api/errors.ts';
import type { OnUnknown } from './bodies.ts';
import { jsonText } from '../content.ts';
import { type Query, text } from '../queries.ts';

const levels = ['Strict', 'Warn', 'Ignore'];

/**
 * Who takes the unknown fields of this request; undefined when they are to be refused. Warnings go into the answer's header.
 * @throws ApiError BadRequest: no such level, or Strict and a field is there twice
 */
export function unknownFieldsOf(
  request: FastifyRequest<{ Querystring: Query }>,
  reply: FastifyReply,
): OnUnknown | undefined {
  const level = text(request.query, 'fieldValidation') || 'Strict';
  if (!levels.includes(level))
    throw new ApiError(
      'BadRequest',
      `fieldValidation: Unsupported value: ${JSON.stringify(level)}: supported values: ${levels.join(', ')}`,
    );
  if (level === 'Ignore') return () => {};
  const twice = duplicateFields(jsonText(request)).map((field) => `duplicate field ${JSON.stringify(field)}`);
  if (level === 'Strict') {
    if (twice.length > 0) throw new ApiError('BadRequest', `strict decoding error: ${twice.join(', ')}`);
    return undefined;
  }
  const warnings = new Set<string>(); // a write that is tried again names its fields again
  const warn: OnUnknown = (warning) => {
    warnings.add(warning);
    reply.header('warning', warningHeaders(warnings));
  };
  twice.forEach(warn);
  return warn;
}

/** What of an answer's head may be warnings: clients limit a head, and so does Node. */
const maxBytes = 4096;

/** `299 - "text"` each (RFC 7234, 5.5). */
function warningHeaders(warnings: Iterable<string>): string[] {
  const headers: string[] = [];
  let bytes = 0;
  for (const warning of warnings) {
    const escaped = warning.replaceAll(/[\\"]/g, '\\$&').replaceAll('\x7f', '');
    // A header is bytes; Node takes each as a character.
    const header = Buffer.from(`299 - "${escaped}"`).toString('latin1');
    bytes += header.length;
    if (bytes > maxBytes) break;
    headers.push(header);
  }
  return headers;
}

interface Level {
  /** Of an object; a list has none. */
  readonly keys?: Set<string>;
  /** Where we are in it. */
  at: string | number;
}

const tokens = /"(?:[^"\\]|\\.)*"|[{}[\],:]/g;

/** Paths of the keys that stand twice in one object, of text that is JSON: what JSON.parse drops in silence. */
export function duplicateFields(json: string): string[] {
  const found: string[] = [];
  const levels: Level[] = [];
  let isKey = false;
  for (const [token] of json.matchAll(tokens)) {
    const level = levels.at(-1);
    if (token === '{' || token === '[') levels.push(token === '{' ? { keys: new Set(), at: '' } : { at: 0 });
    else if (token === '}' || token === ']') levels.pop();
    else if (token === ',' && level && !level.keys) level.at = Number(level.at) + 1;
    else if (isKey && level?.keys && token.startsWith('"')) {
      const key = JSON.parse(token) as string;
      level.at = key;
      if (level.keys.has(key)) found.push(pathOf(levels));
      level.keys.add(key);
    }
    isKey = token === '{' || token === ',';
  }
  return found;
}

const pathOf = (levels: readonly Level[]): string =>
  levels
    .map(({ keys, at }) => (keys ? `.${at}` : `[${at}]`))
    .join('')
    .replace(/^\./, '');
