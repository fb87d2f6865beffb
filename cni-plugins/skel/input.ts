// Standard input of a plugin, read whole but never more than a configuration may be long.
// Assumes the other side closes it (or that it is a file). One read for most configurations.
import { fstatSync, readSync } from 'node:fs';
import { cniError } from '../../lib/cni/errors.ts';
import { decodeText } from '../../lib/kernel/text.ts';

/** Bytes. A configuration with every attachment of a large node (GC) stays far below. */
export const maxInput = 4 * 1024 * 1024;

/** @throws CniError 5 where it cannot be read, 6 where it is longer than `maxInput` */
export function readInput(fd: number): string {
  let bytes = new Uint8Array(16 * 1024);
  for (let length = 0; length <= maxInput; ) {
    const count = readSome(fd, bytes.subarray(length));
    if (count === 0) return decodeText(bytes.subarray(0, length));
    length += count;
    if (length === bytes.length) {
      const wider = new Uint8Array(length * 2);
      wider.set(bytes);
      bytes = wider;
    }
  }
  throw cniError('CNI_DECODING_FAILURE', `standard input: more than ${maxInput} bytes`);
}

function readSome(fd: number, chunk: Uint8Array): number {
  for (;;) {
    try {
      return readSync(fd, chunk, 0, chunk.length, null);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EOF') return 0;
      // A pipe that its writer made non-blocking: nothing to do but wait.
      if (code === 'EAGAIN') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      else throw cniError('CNI_IO_FAILURE', `standard input: ${(cause as Error).message}`, { cause });
    }
  }
}

/** Whether somebody may be sitting there: then nothing is waited for that is not needed. */
export function isDevice(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice();
  } catch {
    return true; // closed: nothing to read
  }
}
