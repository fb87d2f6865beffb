// npm run install:cni: puts the plugins where container runtimes look for them, or takes them away again.
// Assumes the repository (it builds what is out of date) and the right to write the folder. Nothing there is touched
// before the new executable has run in that very folder; each file then comes into place by rename. Repeatable.
// One file and a symbolic link a type: runtimes stat(2) a plugin, which follows links, and call it by the link's name.
// Why not hard links: one rename replaces all plugins at once, and `ls` shows what belongs together.
import {
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf, PodwireError } from '../lib/exec/errors.ts';
import { run } from '../lib/exec/exec.ts';
import { buildCni, pluginTypes } from './build-cni.ts';

const usage = `npm run install:cni -- [--prefix DIR] [--node] [--replace] [--uninstall]
  --prefix DIR  where the plugins go; /opt/cni/bin unless told
  --node        the form that runs under Node, not the compiled one (taken by itself where that one cannot run)
  --replace     put ours in place of plugins of the same names that others installed (kept as NAME${'.before-podwire'})
  --uninstall   remove what was put there, and put back what had been replaced
`;

type Form = 'compiled' | 'node';
export interface InstallOptions {
  readonly prefix: string;
  readonly form?: Form | undefined;
  readonly replace: boolean;
  readonly say: (line: string) => void;
  /** Where the two forms are built; `dist` of the repository unless told. */
  readonly dist?: string;
}

const binary = 'podwire-cni';
const script = 'podwire-cni.mjs';
const aside = '.before-podwire';
const filesOf: Readonly<Record<Form, readonly string[]>> = { compiled: [binary], node: [script, binary] };

/** @returns whether anything was changed @throws PodwireError CNI_FOREIGN, CNI_CANNOT_RUN; errors of the file system */
export async function install(options: InstallOptions): Promise<boolean> {
  const { prefix, replace, say } = options;
  mkdirSync(prefix, { recursive: true, mode: 0o755 });
  const foreign = pluginTypes.filter((type) => kindOf(join(prefix, type)) === 'foreign');
  if (foreign.length > 0 && !replace)
    throw new PodwireError(
      'CNI_FOREIGN',
      `${prefix} has plugins of others: ${foreign.join(', ')}. Nothing was changed. --replace puts ours in their place and keeps theirs as NAME${aside}; --prefix takes another folder`,
    );
  const { form, folder } = await runnable(options);
  const files = filesOf[form].filter((name) => !sameFile(join(folder, name), join(prefix, name)));
  const staging = mkdtempSync(join(prefix, '.podwire-install-'));
  try {
    for (const name of files) copy(join(folder, name), join(staging, name));
    for (const name of files) renameSync(join(staging, name), join(prefix, name));
    const links = pluginTypes.filter((type) => kindOf(join(prefix, type)) !== 'ours');
    for (const type of links) {
      if (kindOf(join(prefix, type)) === 'foreign') putAside(join(prefix, type));
      symlinkSync(binary, join(staging, type));
      renameSync(join(staging, type), join(prefix, type));
    }
    const old = form === 'compiled' && existsSync(join(prefix, script)) ? [script] : [];
    for (const name of [...old, ...former(prefix)]) rmSync(join(prefix, name));
    tell({ ...options, form, files, links, foreign });
    return files.length + links.length + old.length > 0;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }

  function tell(done: { form: Form; files: string[]; links: string[]; foreign: string[] }): void {
    const size = (statSync(realpathSync(join(prefix, binary))).size / 1e6).toFixed(0);
    const what = done.form === 'compiled' ? `compiled, ${size} MB in all` : 'under Node';
    const changed = done.files.length + done.links.length > 0;
    say(`${prefix}: ${changed ? 'in place' : 'up to date'}: ${pluginTypes.join(' ')} (${what})`);
    if (done.foreign.length > 0) say(`kept as NAME${aside}: ${done.foreign.join(' ')}`);
    if (changed) say(`try: CNI_COMMAND=VERSION ${join(prefix, 'bridge')} </dev/null`);
  }
}

/** The form that was asked for, or the first that runs from that folder (it may be mounted noexec, say). */
async function runnable(options: InstallOptions): Promise<{ form: Form; folder: string }> {
  const { prefix, say } = options;
  const dist = options.dist ?? resolve(dirname(fileURLToPath(import.meta.url)), '../dist');
  const forms: readonly Form[] = options.form ? [options.form] : ['compiled', 'node'];
  const reasons: string[] = [];
  for (const form of forms) {
    try {
      const outDir = join(dist, form === 'compiled' ? 'cni' : 'cni-node');
      const built = await buildCni({ form, outDir });
      await probe(built.outDir, prefix, form);
      return { form, folder: built.outDir };
    } catch (error) {
      reasons.push(`${form}: ${messageOf(error)}`);
      if (form !== forms.at(-1)) say(`the ${form} form cannot run here (${messageOf(error)}); trying Node's`);
    }
  }
  throw new PodwireError(
    'CNI_CANNOT_RUN',
    `the plugins cannot run in ${prefix}: ${reasons.join('; ')}. Nothing was changed.`,
  );
}

/** Asks the executable for its VERSION, called by a plugin's name in the folder where it is to be. */
async function probe(from: string, prefix: string, form: Form): Promise<void> {
  const staging = mkdtempSync(join(prefix, '.podwire-probe-'));
  try {
    const there = filesOf[form].every((name) => sameFile(join(from, name), join(prefix, name)));
    if (!there) for (const name of filesOf[form]) copy(join(from, name), join(staging, name));
    symlinkSync(there ? join(prefix, binary) : binary, join(staging, 'loopback'));
    const { stdout } = await run({
      argv: [join(staging, 'loopback')],
      env: { CNI_COMMAND: 'VERSION' },
      input: '{"cniVersion":"1.1.0"}',
      timeoutMs: 20_000,
    });
    const { supportedVersions } = JSON.parse(stdout) as { supportedVersions?: unknown };
    if (!Array.isArray(supportedVersions) || !supportedVersions.includes('1.1.0'))
      throw new PodwireError('CNI_CANNOT_RUN', `answered VERSION with ${stdout.slice(0, 200)}`);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** Removes what install put there. @returns whether there was anything */
export function uninstall({ prefix, say }: Pick<InstallOptions, 'prefix' | 'say'>): boolean {
  const names = existsSync(prefix) ? readdirSync(prefix) : [];
  const ours = names.filter((name) => kindOf(join(prefix, name)) === 'ours');
  const files = [binary, script].filter((name) => names.includes(name));
  const kept = names.filter((name) => name.endsWith(aside)).map((name) => name.slice(0, -aside.length));
  for (const name of [...ours, ...files]) rmSync(join(prefix, name));
  const back = kept.filter((name) => kindOf(join(prefix, name)) === 'none');
  for (const name of back) renameSync(join(prefix, name + aside), join(prefix, name));
  if (ours.length + files.length + back.length === 0) say(`${prefix}: none of our plugins there`);
  else say(`${prefix}: removed: ${[...ours, ...files].join(' ') || 'nothing'}`);
  if (back.length > 0) say(`put back: ${back.join(' ')}`);
  return ours.length + files.length + back.length > 0;
}

/** Links of types that an earlier version had. */
const former = (prefix: string): string[] =>
  readdirSync(prefix).filter((name) => !pluginTypes.includes(name) && kindOf(join(prefix, name)) === 'ours');

function kindOf(path: string): 'none' | 'ours' | 'foreign' {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return 'none';
  return stat.isSymbolicLink() && readlinkSync(path) === binary ? 'ours' : 'foreign';
}

/** One that was put aside before is the true original: what came after it may be anything. */
function putAside(path: string): void {
  if (existsSync(path + aside)) rmSync(path);
  else renameSync(path, path + aside);
}

/** A copy that shares its blocks where the file system can. */
function copy(from: string, to: string): void {
  copyFileSync(from, to, constants.COPYFILE_FICLONE);
}

function sameFile(a: string, b: string): boolean {
  const [one, other] = [a, b].map((path) => statSync(path, { throwIfNoEntry: false }));
  return one !== undefined && one.size === other?.size && readFileSync(a).equals(readFileSync(b));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      prefix: { type: 'string', default: '/opt/cni/bin' },
      node: { type: 'boolean', default: false },
      replace: { type: 'boolean', default: false },
      uninstall: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const say = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  if (values.help) return say(usage);
  // npm runs scripts in the repository; a relative folder is meant from where the person stands.
  const prefix = resolve(process.env.INIT_CWD ?? '.', values.prefix);
  if (values.uninstall) uninstall({ prefix, say });
  else await install({ prefix, form: values.node ? 'node' : undefined, replace: values.replace, say });
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await main().catch((error) => {
    const why = error?.code === 'EACCES' ? `${error.message} (run it with sudo)` : messageOf(error);
    process.stderr.write(`install:cni: ${why}\n`);
    process.exit(1);
  });
