// The second disk of every test VM, mounted read-only at /opt/podwire: this working tree as it is built.
// Assumes scripts/setup.mjs has run (dist/ is there). About 270 MB, made in two seconds, shared by all VMs of a run.
import { existsSync, globSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../lib/exec/exec.ts';
import { makeDisk } from './image.ts';

const repo = join(import.meta.dirname, '../..');

/** What podwire needs to run. Not all of node_modules: dist/ holds its packages, but for Node itself and node-pty. */
const shipped = [
  ...['bin', 'package.json', ...globSync('dist/{cni,*-chunks,*.mjs,lab-init}', { cwd: repo })],
  ...['examples', 'node_modules/node/bin/node', 'node_modules/@lydell'],
];

/** For tests that run inside the VM, on its kernel: the sources, and tap with all that it needs. */
const sources = ['lib', 'cmd', 'cni-plugins', 'scripts', 'test', '.taprc', '.tap', 'package-lock.json'];

/** Makes the disk at `path`; `folder` is for what lies on the way. */
export async function makePayload(path: string, folder: string): Promise<void> {
  const wanted = [
    ...shipped,
    ...sources,
    'node_modules/.bin/node',
    ...packagesBelow('tap'),
    ...packagesBelow('execa'),
  ].filter((file) => existsSync(join(repo, file)));
  for (const file of ['dist/podwired.mjs', 'dist/cni/bridge', 'node_modules/node/bin/node'])
    if (!existsSync(join(repo, file))) throw new Error(`${file} is missing: run npm run setup`);
  mkdirSync(folder);
  // One process: Node's own recursive copy takes 1 ms a file, and these are thousands.
  await run({ argv: ['cp', '-a', '--parents', ...new Set(wanted), folder], cwd: repo, timeoutMs: 300_000 });
  await makeDisk({
    from: folder,
    disk: path,
    bytes: Math.ceil((await sizeOf(folder)) * 1.2) + (64 << 20),
    label: 'podwire',
  });
  rmSync(folder, { recursive: true });
}

interface LockEntry {
  readonly dependencies?: Record<string, string>;
  readonly peerDependencies?: Record<string, string>;
}

/** Folders of a package and of all that it depends on, found as Node finds them: nearest node_modules first. */
export function packagesBelow(name: string): string[] {
  const lock = JSON.parse(readFileSync(join(repo, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, LockEntry>;
  };
  const found = new Set<string>();
  const visit = (wanted: string, from: string): void => {
    const path = resolveIn(lock.packages, wanted, from);
    if (path === undefined || found.has(path) || unneeded.test(path)) return;
    found.add(path);
    const { dependencies, peerDependencies } = lock.packages[path] ?? {};
    for (const next of Object.keys({ ...dependencies, ...peerDependencies })) visit(next, path);
  };
  visit(name, '');
  return [...found];
}

/** What `node x.test.ts` does not load: tap's own runner and reporter, and tools for compiling and fetching. */
const unneeded =
  /node_modules\/(typescript|tshy|prettier|@swc|@tapjs\/(typescript|run|reporter)|@types|@typescript|pacote|npm|node|c8|react-dom|prismjs)(\/|$)/;

function resolveIn(packages: Record<string, unknown>, name: string, from: string): string | undefined {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules/') - 1))) {
    const path = `${at === '' ? '' : `${at}/`}node_modules/${name}`;
    if (path in packages) return path;
    if (at === '') return undefined;
  }
}

/** Space that a folder takes, in bytes. */
async function sizeOf(folder: string): Promise<number> {
  const { stdout } = await run({ argv: ['du', '-s', '--block-size=1', folder] });
  return Number.parseInt(stdout, 10);
}
