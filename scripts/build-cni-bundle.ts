// Run by bun (`bun build-cni-bundle.ts ENTRY RESULT`): the compiled plugins' sources as one script, with three things
// replaced that would cost a plugin more than its work: node:fs and node:path by the few functions of them that plugins use
// (1.5 ms), and the daemon's way of starting processes, with execa (6 ms), by the plugins' own.
// Assumes the repository's formatting: an import's `from 'node:fs';` ends its line.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

interface Loader {
  onLoad(
    filter: { filter: RegExp },
    load: (file: { path: string }) => { contents: string; loader: 'ts' },
  ): void;
}
interface Bun {
  build(options: object): Promise<{ outputs: Array<{ text(): Promise<string> }> }>;
  write(file: string, text: string): Promise<unknown>;
}

const lib = (file: string): string =>
  JSON.stringify(fileURLToPath(new URL(`../lib/${file}`, import.meta.url)));
const lean: Readonly<Record<string, string>> = {
  fs: lib('kernel/lean-fs.ts'),
  path: lib('kernel/lean-path.ts'),
};

/** By the text of the sources: bun does not ask a build's plugins where its own modules are. */
function leaned(path: string): string {
  if (path.endsWith('/lib/exec/run-lazily.ts'))
    return `export { runSync as runLazily } from ${lib('exec/run-sync.ts')};`;
  return readFileSync(path, 'utf8').replaceAll(
    /^((?:import|\}).* from )'node:(fs|path)';$/gm,
    (line, head: string, name: string) => (head.startsWith('import type ') ? line : `${head}${lean[name]};`),
  );
}

const [entry = '', result = ''] = process.argv.slice(2);
const bun = (globalThis as unknown as { Bun: Bun }).Bun;
const { outputs } = await bun.build({
  entrypoints: [entry],
  target: 'bun',
  format: 'esm',
  plugins: [
    {
      name: 'lean modules',
      setup: (loader: Loader) =>
        loader.onLoad({ filter: /\.ts$/ }, ({ path }) => ({ contents: leaned(path), loader: 'ts' })),
    },
  ],
});
const [bundle] = outputs;
if (!bundle) throw new Error(`${entry}: bun made nothing of it`);
await bun.write(result, await bundle.text());
