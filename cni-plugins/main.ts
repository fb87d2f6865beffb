// The one executable of all plugins: the name it is called by says which. `dist/cni/<type>` are links to it.
// Assumes one call a process. Node's form gets the name from its launcher, as argv[2].
import { writeSync } from 'node:fs';
import { basename } from 'node:path';
import { runSync } from '../lib/exec/run-sync.ts';
import { loadLibc } from '../lib/kernel/libc.ts';
import { encodeText } from '../lib/kernel/text.ts';
import { plugins } from './registry.ts';
import { isDevice, readInput } from './skel/input.ts';
import { serve } from './skel/skel.ts';

// A compiled program knows its name by argv[0]; under a plain Node, main.ts is told the path it was called by.
const compiled = process.versions.bun !== undefined && process.argv[1]?.startsWith('/$bunfs/') === true;
const calledAs = compiled ? process.argv0 : (process.argv[2] ?? '');
const self = compiled ? '/proc/self/exe' : calledAs;

async function main(): Promise<number> {
  const type = basename(calledAs);
  const plugin = Object.hasOwn(plugins, type) ? plugins[type] : undefined;
  if (!plugin) {
    say(2, `podwire-cni: call it by the name of a plugin: ${Object.keys(plugins).join(', ')}\n`);
    return 2;
  }
  if (!process.env.CNI_COMMAND) {
    say(2, `podwire CNI plugin ${plugin.type}; CNI_COMMAND is not set (CNI specification 1.1.0)\n`);
    return 0;
  }
  const host = { exec: runSync, plugins, self, log: (text: string) => say(2, text) };
  // At a terminal VERSION, which can do without, must not wait for a configuration.
  const stdin = (): string => (process.env.CNI_COMMAND === 'VERSION' && isDevice(0) ? '' : readInput(0));
  const { stdout, exitCode } = await serve(plugin, process.env, { stdin, host });
  if (stdout !== '') say(1, stdout);
  return exitCode;
}

/** All that was said is written: bun's own way out, which has nothing to tidy up here, would take 0.4 ms. */
function exit(code: number): never {
  // Asked to tell in which order functions ran (the build does), bun writes that on its way out.
  if (compiled && !process.env.BUN_BYTECODE_ORDER_OUT) loadLibc()?.exit(code);
  process.exit(code);
}

/** Whole and at once: process.stdout costs bun 5 ms to set up, and may be cut short by exit. */
function say(fd: 1 | 2, text: string): void {
  const bytes = encodeText(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

main().then(exit, (error) => {
  say(2, `podwire-cni: ${error instanceof Error ? error.message : String(error)}\n`);
  exit(1);
});
