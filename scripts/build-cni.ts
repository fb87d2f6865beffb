// Builds dist/cni: one multi-call executable `podwire-cni`, and a link to it for each plugin type.
// Assumes bun (from npm) for the compiled form; `--node` makes a launcher that runs the same code, bundled, under Node.
// Does nothing when the sources are those of the last build. Everything is put in place by rename.
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { plugins } from '../cni-plugins/registry.ts';
import { run } from '../lib/exec/exec.ts';
import { orderOfAnAdd } from './bytecode-order.ts';

export const pluginTypes: readonly string[] = Object.keys(plugins);

export interface BuildOptions {
  /** The repository. */
  readonly root?: string;
  /** Where the executables go; `<root>/dist/cni` unless told. */
  readonly outDir?: string;
  /** 'compiled' needs bun; 'node' runs under the Node that builds it. */
  readonly form?: 'compiled' | 'node';
}

export interface Built {
  readonly outDir: string;
  readonly form: 'compiled' | 'node';
  /** False: nothing had changed. */
  readonly built: boolean;
}

/** Builds what is out of date. */
export async function buildCni(options: BuildOptions = {}): Promise<Built> {
  const root = options.root ?? resolve(dirname(fileURLToPath(import.meta.url)), '..');
  const outDir = options.outDir ?? join(root, 'dist/cni');
  const bun = join(root, 'node_modules/.bin/bun');
  const form = options.form ?? (existsSync(bun) ? 'compiled' : 'node');
  const stamp = join(outDir, '.sources');
  const hash = `${form} ${sourcesHash(root)}`;
  if (isCurrent(outDir, stamp, hash)) return { outDir, form, built: false };
  mkdirSync(outDir, { recursive: true });
  rmSync(stamp, { force: true });
  if (form === 'compiled') await compile(root, outDir);
  else await bundle(root, outDir);
  for (const type of pluginTypes) linkTo('podwire-cni', join(outDir, type));
  writeFileSync(stamp, hash);
  return { outDir, form, built: true };
}

function isCurrent(outDir: string, stamp: string, hash: string): boolean {
  const files = ['podwire-cni', ...pluginTypes].map((name) => join(outDir, name));
  return files.every((file) => existsSync(file)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash;
}

/** Everything that can get into the executable: plugins and the layers below them, this script, bun's version. */
function sourcesHash(root: string): string {
  const hash = createHash('sha256');
  const folders = ['cni-plugins', 'lib/cni', 'lib/kernel', 'lib/exec'];
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => join(folder, name)),
  );
  for (const file of [
    ...files.sort(),
    'scripts/build-cni.ts',
    'scripts/build-cni-bundle.ts',
    'scripts/bytecode-order.ts',
    'package-lock.json',
  ])
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update('\0');
  return hash.digest('hex');
}

// The daemon's way of starting processes never runs in a plugin. Left in, its import of execa is hoisted: a plugin would
// take 6 ms more to start, or look for execa in the node_modules of whatever folder it is started in.
const external = ['--external', '*/exec.ts'];

const compileFlags = [
  '--compile',
  '--minify',
  '--bytecode',
  '--format=cjs',
  // A run ends long before compiling anything to machine code could pay: without it 1 ms less, and a thread.
  '--compile-jit-policy=1000',
  // A plugin is started as root in any folder: it must not take settings or code from files that lie there.
  '--no-compile-autoload-dotenv',
  '--no-compile-autoload-bunfig',
];

/** In two steps, as only a script can replace modules on the way, and only the command takes all flags. The first file is run. */
async function compile(root: string, outDir: string): Promise<void> {
  const temporary = join(outDir, `.podwire-cni.${process.pid}`);
  const scripts = `${temporary}.scripts`;
  const bun = (...args: string[]) =>
    run({
      argv: [join(root, 'node_modules/.bin/bun'), ...args],
      cwd: outDir, // bun leaves a temporary file where it runs
      env: bunEnv(),
      timeoutMs: 120_000,
    });
  try {
    mkdirSync(scripts);
    await bun(join(root, 'scripts/build-cni-bundle.ts'), root, scripts);
    const others = readdirSync(scripts).filter((name) => name !== 'first.js');
    const files = ['first.js', ...others].map((name) => join(scripts, name));
    const compiled = (...flags: string[]) =>
      bun('build', ...files, `--root=${scripts}`, ...compileFlags, ...flags, `--outfile=${temporary}`);
    await compiled();
    const order = await orderOfAnAdd(temporary, scripts);
    if (order) await compiled(`--bytecode-order=${order}`);
  } finally {
    rmSync(scripts, { recursive: true, force: true });
  }
  renameSync(temporary, join(outDir, 'podwire-cni'));
}

/** Node's form: one script, and a shell launcher that hands on the name it was called by. */
async function bundle(root: string, outDir: string): Promise<void> {
  const bun = join(root, 'node_modules/.bin/bun');
  const script = join(outDir, 'podwire-cni.mjs');
  const main = join(root, 'cni-plugins/main.ts');
  if (existsSync(bun)) {
    const temporary = `${script}.${process.pid}`;
    const flags = ['--target=node', '--format=esm', ...external, `--outfile=${temporary}`];
    await run({ argv: [bun, 'build', main, ...flags], cwd: outDir, env: bunEnv(), timeoutMs: 120_000 });
    renameSync(temporary, script);
  } else {
    replace(script, `import ${JSON.stringify(pathToFileURL(main).href)};\n`, 0o644);
  }
  replace(join(outDir, 'podwire-cni'), launcher(realpathSync(join(root, 'node_modules/.bin/node'))), 0o755);
}

/** The script lies beside the launcher; where it does not, it was called through a link in another folder. */
const launcher = (node: string): string => `#!/bin/sh
here=\${0%/*}
[ -f "$here/podwire-cni.mjs" ] || here=$(dirname -- "$(readlink -f -- "$0")")
exec '${node}' --disable-warning=ExperimentalWarning "$here/podwire-cni.mjs" "$0"
`;

/** bun keeps a cache below HOME; without one it would ask for it. */
const bunEnv = (): Record<string, string> => ({
  HOME: process.env.HOME ?? '/root',
  TMPDIR: process.env.TMPDIR ?? '/tmp',
});

function replace(file: string, text: string, mode: number): void {
  writeFileSync(`${file}.${process.pid}`, text, { mode });
  renameSync(`${file}.${process.pid}`, file);
}

function linkTo(target: string, link: string): void {
  if (isLink(link, target)) return;
  symlinkSync(target, `${link}.${process.pid}`);
  renameSync(`${link}.${process.pid}`, link);
}

function isLink(link: string, target: string): boolean {
  try {
    return readlinkSync(link) === target;
  } catch {
    return false;
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const form = process.argv.includes('--node') ? 'node' : undefined;
  const { outDir, form: chosen, built } = await buildCni(form ? { form } : {});
  console.log(`${built ? 'built' : 'up to date'}: ${outDir} (${chosen})`);
}
