// Run by bun (`bun build-cni-bundle.ts REPOSITORY FOLDER`): the plugins' sources as scripts, ready to be compiled together.
// Two things are done for a plugin's start, whose time is the most of its run:
// - each type is a program in a file of its own, with the IPAM plugins it may call and without the others: a file that
//   does not run is not loaded (as functions of one file they cost 0.5 ms: an engine hashes the whole text of a file that
//   it loads). Other delegates are then called as programs, as any is.
// - modules that would cost more than the plugin's work are replaced: node:fs and node:path by the few functions of them
//   that plugins use (1.5 ms), the daemon's way of starting processes, with execa (6 ms), by the plugins' own.
// Assumes the repository's formatting: an import's `from 'node:fs';` ends its line, a plugin is a line of the registry.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Loader {
  onLoad(
    filter: { filter: RegExp },
    load: (file: { path: string }) => { contents: string; loader: 'ts' },
  ): void;
}
interface Bun {
  build(options: object): Promise<{ outputs: Array<{ text(): Promise<string> }> }>;
}
const bun = (globalThis as unknown as { Bun: Bun }).Bun;

const [root = '', folder = ''] = process.argv.slice(2);
// Names that no type has.
const firstScript = 'first';
const everyType = 'every';
const lib = (file: string): string => JSON.stringify(join(root, 'lib', file));
const lean: Readonly<Record<string, string>> = {
  fs: lib('kernel/lean-fs.ts'),
  path: lib('kernel/lean-path.ts'),
};
const registry = join(root, 'cni-plugins/registry.ts');

/** A source as it goes into the bundle. By its text: bun does not ask a build's plugins where its own modules are. */
function replaced(path: string, isWanted: (name: string) => boolean): string {
  if (path === join(root, 'lib/exec/run-lazily.ts'))
    return `export { runSync as runLazily } from ${lib('exec/run-sync.ts')};`;
  const source = readFileSync(path, 'utf8').replaceAll(
    /^((?:import|\}).* from )'node:(fs|path)';$/gm,
    (line, head: string, name: string) => (head.startsWith('import type ') ? line : `${head}${lean[name]};`),
  );
  if (path !== registry) return source;
  return source
    .replaceAll(/^import \{ (\w+) \} from .*$/gm, (line, name: string) => (isWanted(name) ? line : ''))
    .replaceAll(/^ {2}\[(\w+)\.type\]: \1,$/gm, (line, name: string) => (isWanted(name) ? line : ''));
}

/** The program with those plugins that are wanted, by the names under which the registry imports them. */
async function program(isWanted: (name: string) => boolean): Promise<string> {
  const { outputs } = await bun.build({
    entrypoints: [join(root, 'cni-plugins/main.ts')],
    target: 'bun',
    format: 'iife',
    plugins: [
      {
        name: 'lean modules',
        setup: (loader: Loader) =>
          loader.onLoad({ filter: /\.ts$/ }, ({ path }) => ({
            contents: replaced(path, isWanted),
            loader: 'ts',
          })),
      },
    ],
  });
  const [bundle] = outputs;
  if (!bundle) throw new Error('bun made nothing of cni-plugins/main.ts');
  // A function has no import.meta; what is left to require are modules of the runtime.
  return (await bundle.text()).replaceAll('import.meta.require', 'process.getBuiltinModule');
}

interface Known {
  readonly name: string;
  readonly type: string;
  readonly ipam: boolean;
}

/** Every plugin of the registry; the type and what it is come from the plugin itself. */
async function knownPlugins(): Promise<Known[]> {
  const imports = readFileSync(registry, 'utf8').matchAll(/^import \{ (\w+) \} from '(\..*)';$/gm);
  const known: Known[] = [];
  for (const [, name = '', file = ''] of imports) {
    const module = (await import(join(root, 'cni-plugins', file))) as Record<
      string,
      { type: string; ipam?: true }
    >;
    const plugin = module[name];
    if (plugin) known.push({ name, type: plugin.type, ipam: plugin.ipam === true });
  }
  return known;
}

const write = (name: string, text: string): void => writeFileSync(join(folder, `${name}.js`), text);

const known = await knownPlugins();
for (const { name, type } of known) {
  const wanted = new Set([name, ...known.filter((one) => one.ipam).map((one) => one.name)]);
  write(type, await program((one) => wanted.has(one)));
}
// By another name it tells what it is: that takes the list of all.
write(everyType, await program(() => true));
// The first script: `require` of a name worked out at run time, so that bun leaves the files apart; where it keeps them.
write(
  firstScript,
  `const calledAs = process.argv0.slice(process.argv0.lastIndexOf('/') + 1);
const known = ${JSON.stringify(known.map(({ type }) => type))};
require('/$bunfs/root/' + (known.includes(calledAs) ? calledAs : '${everyType}') + '.js');\n`,
);
