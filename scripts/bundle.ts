// Bundles one entry for Node; run by bun, called by scripts/build.ts: bun scripts/bundle.ts ENTRY OUTDIR NAME
// Node's own modules are reached through process.getBuiltinModule: an `import` of them reads every export, and the lazy
// ones of node:http alone (WebSocket and what it needs) cost 20 ms at each start of the CLI.
interface OnLoad {
  onResolve(filter: { filter: RegExp }, found: (args: { path: string }) => object): void;
  onLoad(filter: { filter: RegExp; namespace: string }, load: (args: { path: string }) => object): void;
}
interface BunBuild {
  build(options: object): Promise<{ success: boolean; logs: readonly unknown[] }>;
}
const { Bun } = globalThis as unknown as { Bun: BunBuild };

const [entry, outdir, name] = process.argv.slice(2) as [string, string, string];
const builtins = {
  name: 'node-builtins-late',
  setup(build: OnLoad): void {
    build.onResolve({ filter: /^node:(?!module$)/ }, ({ path }) => ({ path, namespace: 'builtin' }));
    build.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)})`,
      loader: 'js',
    }));
  },
};

const { success, logs } = await Bun.build({
  entrypoints: [entry],
  outdir,
  target: 'node',
  format: 'esm',
  splitting: true,
  // Names stay as they are, so that a stack trace can be read.
  minify: { whitespace: true, syntax: true, identifiers: false },
  naming: { entry: `${name}.mjs`, chunk: `${name}-chunks/[name]-[hash].mjs` },
  external: ['@lydell/node-pty'],
  plugins: [builtins],
  throw: false,
});
for (const log of logs) console.error(String(log));
process.exit(success ? 0 : 1);
