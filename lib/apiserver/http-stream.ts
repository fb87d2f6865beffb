// Writes an endless answer: as fast as the client reads, and no longer than it is there.
// Assumes the reply was hijacked from the framework. Memory is bounded by the socket's buffer.
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

/** A signal that aborts when the client goes (or the answer is over). */
export function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  if (response.destroyed) gone.abort();
  return gone.signal;
}

/** Writes and, when the client is slow, waits for it. Gives false when the client has gone. */
export async function writeChunk(
  response: ServerResponse,
  chunk: string | Uint8Array,
  gone: AbortSignal,
): Promise<boolean> {
  if (gone.aborted) return false;
  if (response.write(chunk)) return true;
  try {
    await once(response, 'drain', { signal: gone });
    return true;
  } catch {
    return false;
  }
}
