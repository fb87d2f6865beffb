// What nodes say to each other to know whether the network between them carries packets: one datagram a question, one an answer.
// Assumes UDP; an answer is never longer than its question, so nobody can be flooded with it. Pure.

/** Where a question goes: straight to the node's address, through the overlay, or so without a UDP checksum. */
export type Way = 'underlay' | 'overlay' | 'unchecked';

export interface Question {
  /** Who asks. */
  readonly from: string;
  /** Number of the round: an answer to an older one is late, and does not count. */
  readonly round: number;
  readonly way: Way;
  /** Bytes of the whole payload; filled up with zeros. */
  readonly size: number;
}

export interface Answer {
  readonly from: string;
  readonly round: number;
  readonly way: Way;
  readonly size: number;
  /** Underlay only: the newest round that came from the asking node through the overlay, with and without checksum; 0: none. */
  readonly heard: { readonly overlay: number; readonly unchecked: number };
  /** Underlay only: what the answering node lacks in its kernel to reach the asking one. */
  readonly lacks: readonly string[];
}

const magic = 'podwire-health/1 ';
/** Room for what an underlay answer tells. */
export const underlaySize = 1200;
/** Room for the longest name of a node (253 letters); smaller than any link's MTU. */
export const smallSize = 400;

export function encodeQuestion(question: Question): Buffer {
  return pad(`${magic}? ${JSON.stringify(question)}`, question.size);
}

/** Lists that do not fit are cut, so that the answer is no longer than the question; a small one has none. */
export function encodeAnswer({ heard, lacks, ...answer }: Answer): Buffer {
  for (let count = lacks.length; ; count--) {
    const told = answer.way === 'underlay' ? { heard, lacks: lacks.slice(0, count) } : {};
    const text = `${magic}! ${JSON.stringify({ ...answer, ...told })}`;
    if (count === 0 || Buffer.byteLength(text) <= answer.size) return pad(text, answer.size);
  }
}

function pad(text: string, size: number): Buffer {
  const bytes = Buffer.alloc(Math.max(size, 0));
  bytes.write(text.slice(0, size));
  return bytes;
}

export type Message = { readonly question: Question } | { readonly answer: Answer };

/** undefined: not ours, or cut short. Nothing in it is trusted but its form. */
export function decode(bytes: Buffer): Message | undefined {
  const end = bytes.indexOf(0);
  const text = bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
  if (!text.startsWith(magic)) return undefined;
  try {
    const value = JSON.parse(text.slice(magic.length + 2)) as Partial<Answer>;
    const { overlay, unchecked } = value.heard ?? {};
    const lacks = Array.isArray(value.lacks) ? value.lacks.filter((one) => typeof one === 'string') : [];
    if (!isCommon(value)) return undefined;
    const common = { from: value.from, round: value.round, way: value.way, size: bytes.length };
    if (text[magic.length] === '?') return { question: common };
    return { answer: { ...common, heard: { overlay: whole(overlay), unchecked: whole(unchecked) }, lacks } };
  } catch {
    return undefined;
  }
}

const ways: readonly unknown[] = ['underlay', 'overlay', 'unchecked'];

function isCommon(value: Partial<Question>): value is Question {
  const { from, round, way } = value;
  const named = typeof from === 'string' && /^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/.test(from);
  return named && Number.isSafeInteger(round) && ways.includes(way);
}

const whole = (value: unknown): number => (Number.isSafeInteger(value) ? (value as number) : 0);
