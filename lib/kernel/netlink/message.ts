// Netlink messages as bytes: a writer of requests (header, fixed part, attributes, nests) and a reader of answers. Pure.
// Assumes little-endian machines (netlink speaks the machine's own order). Source: include/uapi/linux/netlink.h.
import { decodeText, encodeText } from '../text.ts';

/** nlmsg_flags. */
export const flags = {
  request: 0x1,
  ack: 0x4,
  replace: 0x100,
  excl: 0x200,
  create: 0x400,
  dump: 0x300,
} as const;

const headerLength = 16;
const aligned = (length: number): number => (length + 3) & ~3;

/** One request. Attributes are appended in the order of the calls, each aligned to four bytes. */
export class Request {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #length = headerLength;

  constructor(type: number, flagBits: number, capacity = 1024) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
    this.#view.setUint16(4, type, true);
    this.#view.setUint16(6, flagBits, true);
  }

  /** The fixed part: numbers of 1, 2 or 4 bytes, one after another. */
  fixed(...fields: ReadonlyArray<readonly [bytes: 1 | 2 | 4, value: number]>): this {
    for (const [bytes, value] of fields) {
      if (bytes === 1) this.#view.setUint8(this.#length, value);
      else if (bytes === 2) this.#view.setUint16(this.#length, value, true);
      else this.#view.setUint32(this.#length, value, true);
      this.#length += bytes;
    }
    return this;
  }

  u8(type: number, value: number): this {
    return this.bytes(type, [value]);
  }

  u16(type: number, value: number): this {
    return this.bytes(type, [value & 255, value >> 8]);
  }

  u32(type: number, value: number): this {
    return this.bytes(type, [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24]);
  }

  /** Text without a closing zero. */
  text(type: number, value: string): this {
    return this.bytes(type, encodeText(value));
  }

  /** Text with its closing zero. */
  name(type: number, value: string): this {
    return this.text(type, `${value}\0`);
  }

  bytes(type: number, value: ArrayLike<number>): this {
    this.#open(type, 4 + value.length);
    this.#bytes.set(value, this.#length + 4);
    this.#length = aligned(this.#length + 4 + value.length);
    return this;
  }

  /** An attribute that holds others. */
  nest(type: number, fill: (request: this) => void): this {
    const start = this.#length;
    this.#open(type, 4);
    this.#length += 4;
    fill(this);
    this.#view.setUint16(start, this.#length - start, true);
    return this;
  }

  #open(type: number, length: number): void {
    if (aligned(this.#length + length) > this.#bytes.length) throw new RangeError('netlink request too long');
    this.#view.setUint16(this.#length, length, true);
    this.#view.setUint16(this.#length + 2, type, true);
  }

  /** The message with its length and number. */
  finish(sequence: number): Uint8Array {
    this.#view.setUint32(0, this.#length, true);
    this.#view.setUint32(8, sequence, true);
    return this.#bytes.subarray(0, this.#length);
  }
}

/** One message of an answer; `body` is what follows the header. */
export interface Answer {
  readonly type: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

/** nlmsg_type below the families' own. */
export const nlmsgError = 2;
export const nlmsgDone = 3;

/** The messages in what one recv gave; one that is cut short ends the list. */
export function parseAnswers(bytes: Uint8Array): Answer[] {
  const answers: Answer[] = [];
  const view = viewOf(bytes);
  for (let at = 0; at + headerLength <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < headerLength || at + length > bytes.length) break;
    answers.push({
      type: view.getUint16(at + 4, true),
      sequence: view.getUint32(at + 8, true),
      body: bytes.subarray(at + headerLength, at + length),
    });
    at += aligned(length);
  }
  return answers;
}

/** Attributes by type, flag bits taken off; the last of a type wins. */
export function parseAttributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const view = viewOf(bytes);
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += aligned(length);
  }
  return found;
}

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** What an NLMSG_ERROR says: 0 for an acknowledgement, else the errno, and the kernel's own words where it has any. */
export function parseError(body: Uint8Array): { errno: number; said: string } {
  const view = viewOf(body);
  const errno = -view.getInt32(0, true);
  if (errno === 0 || body.length < 20) return { errno, said: '' };
  // The request follows, and behind it (NETLINK_EXT_ACK) attributes; NETLINK_CAP_ACK would leave the request out.
  const asked = view.getUint32(4, true);
  const words = parseAttributes(body.subarray(4 + aligned(asked))).get(1);
  return { errno, said: words ? textOf(words) : '' };
}

/** A text up to its closing zero. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decodeText(end < 0 ? bytes : bytes.subarray(0, end));
}
