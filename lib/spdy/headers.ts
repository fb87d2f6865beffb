// Header blocks of SPDY/3.1: names and values with their lengths, compressed by one zlib stream a direction.
// Assumes blocks are given in the order of their frames, for each builds on those before it. Ours are compressed without the
// preset dictionary, which zlib lets us; a peer's may need it. A block takes at most 64 KiB: a bomb ends the connection.
// Source: SPDY protocol draft 3.1, sections 2.6.10 and 2.6.10.1.
import { constants, createDeflate, createInflate } from 'node:zlib';

export type Headers = Readonly<Record<string, string>>;

const mostBytes = 64 * 1024;

/** Count, then each name and value with its length; names in lower case. Pure. */
export function headerBlock(headers: Headers): Buffer {
  const entries = Object.entries(headers);
  return Buffer.concat([
    number(entries.length),
    ...entries.flatMap(([name, value]) => [sized(name.toLowerCase()), sized(value)]),
  ]);
}

/** Several values of one name are parted by NUL. Pure. @throws Error when it is cut or has too many */
export function readHeaderBlock(block: Buffer): Headers {
  let at = 0;
  const next = (size: number): Buffer => {
    if (at + size > block.length) throw new Error('SPDY: a header block ends too soon');
    at += size;
    return block.subarray(at - size, at);
  };
  const count = next(4).readUInt32BE();
  const headers: Record<string, string> = Object.create(null);
  for (let entry = 0; entry < count; entry++) {
    const name = next(next(4).readUInt32BE()).toString('latin1');
    headers[name] = next(next(4).readUInt32BE()).toString();
  }
  return headers;
}

/** One direction. `run` resolves with what a block becomes, in the order of the calls; it rejects for good after a failure. */
export class BlockStream {
  readonly #zlib: ReturnType<typeof createDeflate> | ReturnType<typeof createInflate>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(direction: 'compress' | 'expand') {
    this.#zlib = direction === 'compress' ? createDeflate() : createInflate({ dictionary: dictionary() });
    this.#zlib.on('error', () => {}); // the write under way tells
  }

  run(block: Buffer): Promise<Buffer> {
    const done = this.#last.then(() => this.#through(block));
    this.#last = done;
    done.catch(() => {});
    return done;
  }

  close(): void {
    this.#zlib.close();
  }

  #through(block: Buffer): Promise<Buffer> {
    const zlib = this.#zlib;
    return new Promise((resolve, reject) => {
      const parts: Buffer[] = [];
      let size = 0;
      const end = (): void => {
        zlib.off('data', collect).off('error', fail).off('close', fail);
      };
      const fail = (error?: Error | null): void => {
        end();
        reject(error ?? new Error('SPDY: closed'));
      };
      const collect = (part: Buffer): void => {
        size += part.length;
        if (size <= mostBytes) return void parts.push(part);
        fail(new Error(`SPDY: a header block of over ${mostBytes} bytes`));
        zlib.destroy();
      };
      zlib.on('data', collect).once('error', fail).once('close', fail);
      if (zlib.destroyed) return fail();
      zlib.write(block);
      zlib.flush(constants.Z_SYNC_FLUSH, () => {
        end();
        resolve(Buffer.concat(parts));
      });
    });
  }
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function sized(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([number(bytes.length), bytes]);
}

/** The words that HTTP of 2009 said most often, and a tail without lengths: a constant of the protocol, to the byte. */
export function dictionary(): Buffer {
  return Buffer.concat([...words.split('|').map(sized), Buffer.from(tail)]);
}

const words =
  'options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow|' +
  'authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|content-location|' +
  'content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|' +
  'if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|proxy-authenticate|proxy-authorization|range|' +
  'referer|retry-after|server|te|trailer|transfer-encoding|upgrade|user-agent|vary|via|warning|www-authenticate|method|get|' +
  'status|200 OK|version|HTTP/1.1|url|public|set-cookie|keep-alive|origin';
const tail =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505' +
  '203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden' +
  '404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable' +
  'Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT' +
  'chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,' +
  'publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.';
