// The default Exec of lib/kernel: lib/exec's `run`, loaded with its first use.
// Assumes plugins hand in their own Exec and never get here: the plugins' executable then carries no execa.
import type { Exec } from './exec.ts';

export const runLazily: Exec = async (command) => (await import('./exec.ts')).run(command);
