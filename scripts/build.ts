// Builds dist/: the daemon and the CLI as one file each for the repo's Node, and the CNI plugins as executables.
// Assumes npm packages are installed. What has not changed is not built again: 30 ms to find that out.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const repo = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(repo, 'dist');

interface Part {
  readonly name: string;
  /** Globs of what it is made from. */
  readonly sources: readonly string[];
  readonly results: readonly string[];
  build(): Promise<void>;
}

const shared = ['lib/**/*.{ts,json}', 'package.json', 'package-lock.json', 'scripts/{build,bundle}.ts'];

const parts: readonly Part[] = [
  {
    name: 'podwire',
    sources: ['cmd/podwire/**/*.ts', ...shared],
    results: ['podwire.mjs'],
    build: () => bundleInChunks('cmd/podwire/main.ts', 'podwire'),
  },
  {
    name: 'CNI plugins',
    sources: [
      'cni-plugins/**/*.ts',
      'lib/{exec,kernel,cni}/**/*.ts',
      'package-lock.json',
      'scripts/build*.ts',
    ],
    results: ['cni/bridge', 'cni/host-local', 'cni/loopback'],
    build: async () => {
      const { buildCni } = await import('./build-cni.ts');
      await buildCni();
    },
  },
  {
    name: 'podwired',
    sources: ['cmd/podwired/**/*.ts', ...shared],
    results: ['podwired.mjs'],
    build: () => bundleInChunks('cmd/podwired/main.ts', 'podwired'),
  },
  {
    name: 'lab-init',
    sources: shared,
    results: ['lab-init.mjs'],
    build: () => bundle('lib/lab/init.ts', 'lab-init.mjs'),
  },
];

async function main(what: 'all' | 'changed'): Promise<void> {
  mkdirSync(dist, { recursive: true });
  for (const part of parts) {
    const stamp = join(dist, `.built-${part.name.replaceAll(' ', '-')}`);
    const hash = hashOf(part.sources);
    const fresh = existsSync(stamp) && readFileSync(stamp, 'utf8') === hash;
    if (what === 'changed' && fresh && part.results.every((result) => existsSync(join(dist, result))))
      continue;
    const began = performance.now();
    await part.build();
    writeFileSync(stamp, hash);
    process.stderr.write(`build: ${part.name} (${((performance.now() - began) / 1000).toFixed(1)} s)\n`);
  }
}

/** Of names and contents, so that a moved file counts as a change. */
function hashOf(globs: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of globs.flatMap((glob) => globSync(glob, { cwd: repo })).sort())
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(join(repo, file)))
      .update('\0');
  return hash.digest('hex');
}

const bun = join(repo, 'node_modules/.bin/bun');

/** One file. Replaced in one step, so that a start never sees half of it. */
async function bundle(entry: string, result: string): Promise<void> {
  const temporary = join(dist, `.${result}.${process.pid}`);
  const flags = [
    '--target=node',
    '--format=esm',
    '--minify-whitespace',
    '--minify-syntax',
    '--external=@lydell/node-pty',
    '--external=@grpc/*', // loaded by --datastore etcd:// alone
  ];
  await runBun(['build', join(repo, entry), ...flags, `--outfile=${temporary}`]);
  renameSync(temporary, join(dist, result));
}

/** An entry and the chunks that it loads late. New chunks come first, the entry last, then the old chunks go. */
async function bundleInChunks(entry: string, name: string): Promise<void> {
  const temporary = join(dist, `.${name}.${process.pid}`);
  const chunks = `${name}-chunks`;
  await runBun([join(repo, 'scripts/bundle.ts'), join(repo, entry), temporary, name]);
  mkdirSync(join(dist, chunks), { recursive: true });
  const fresh = readdirSync(join(temporary, chunks));
  for (const chunk of fresh) renameSync(join(temporary, chunks, chunk), join(dist, chunks, chunk));
  renameSync(join(temporary, `${name}.mjs`), join(dist, `${name}.mjs`));
  for (const chunk of readdirSync(join(dist, chunks)))
    if (!fresh.includes(chunk)) rmSync(join(dist, chunks, chunk));
  rmSync(temporary, { recursive: true });
}

async function runBun(args: readonly string[]): Promise<void> {
  try {
    await promisify(execFile)(bun, args, { cwd: repo });
  } catch (error) {
    const { stderr, stdout } = error as { stderr?: string; stdout?: string };
    process.stderr.write(`build: bun ${args.join(' ')} failed:\n${stderr || stdout || error}\n`);
    process.exit(1);
  }
}

await main(process.argv.includes('--force') ? 'all' : 'changed');
