// node:ffi where this Node has it, without its warning. Assumes nothing: undefined means "do it the other way".
// Every user tries its functions out once and has a way without them, which makes the experiment safe.
import { createRequire } from 'node:module';

export type Ffi = typeof import('node:ffi');

/** The module; undefined in Nodes before 26, when switched off (PODWIRE_NO_FFI=1), or in bun. */
export function loadFfi(): Ffi | undefined {
  if (process.env.PODWIRE_NO_FFI) return undefined;
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return createRequire(import.meta.url)('node:ffi') as Ffi;
  } catch {
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}
