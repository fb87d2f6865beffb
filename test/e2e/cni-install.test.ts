// npm run install:cni, in a temporary folder: puts in place, says so, does nothing the second time, keeps what others
// installed, takes Node's form where the compiled one cannot run, and takes everything away again.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { buildCni, pluginTypes } from '../../scripts/build-cni.ts';
import { install, uninstall } from '../../scripts/install-cni.ts';

t.setTimeout(400_000);
const folder = mkdtempSync(join(tmpdir(), 'podwire-install-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const version = (program: string): { supportedVersions?: string[] } =>
  JSON.parse(
    execFileSync(program, {
      input: '',
      env: { CNI_COMMAND: 'VERSION', PATH: process.env.PATH },
      encoding: 'utf8',
    }),
  );
const script = fileURLToPath(new URL('../../scripts/install-cni.ts', import.meta.url));
/** As npm runs it. */
const command = (...args: string[]) =>
  spawnSync(process.execPath, [script, ...args], {
    encoding: 'utf8',
    env: { ...process.env, INIT_CWD: folder },
  });

t.test('into place, again, and away', async (t) => {
  const bin = join(folder, 'a/bin');
  const first = command('--prefix', 'a/bin');
  t.equal(first.status, 0, first.stderr);
  t.match(first.stdout, `${bin}: in place: ${pluginTypes.join(' ')} (compiled`);
  t.strictSame(readdirSync(bin).sort(), [...pluginTypes, 'podwire-cni'].sort());
  for (const type of pluginTypes) {
    t.equal(readlinkSync(join(bin, type)), 'podwire-cni');
    t.ok(version(join(bin, type)).supportedVersions?.includes('1.1.0'), `${type} runs there`);
  }
  const before = lstatSync(join(bin, 'podwire-cni')).ino;
  t.match(command('--prefix', bin).stdout, 'up to date');
  t.equal(lstatSync(join(bin, 'podwire-cni')).ino, before, 'nothing was touched');
  const other = command('--prefix', bin, '--node');
  t.match(other.stdout, '(under Node)');
  t.ok(version(join(bin, 'bridge')).supportedVersions?.includes('0.3.1'));
  t.match(command('--prefix', bin).stdout, '(compiled');
  t.notOk(readdirSync(bin).includes('podwire-cni.mjs'), "the other form's script is gone");
  t.match(command('--prefix', bin, '--uninstall').stdout, 'removed: ');
  t.strictSame(readdirSync(bin), []);
  t.match(command('--prefix', bin, '--uninstall').stdout, 'none of our plugins');
});

t.test("others' plugins are not overwritten unasked, and come back", async (t) => {
  const bin = join(folder, 'b');
  mkdirSync(bin);
  writeFileSync(join(bin, 'bridge'), 'theirs');
  writeFileSync(join(bin, 'dhcp'), 'theirs, and none of ours');
  const refused = command('--prefix', bin);
  t.equal(refused.status, 1);
  t.match(refused.stderr, /has plugins of others: bridge\. Nothing was changed/);
  t.strictSame(readdirSync(bin).sort(), ['bridge', 'dhcp']);
  t.match(command('--prefix', bin, '--replace').stdout, 'kept as NAME.before-podwire: bridge');
  t.ok(version(join(bin, 'bridge')).supportedVersions);
  t.equal(command('--prefix', bin, '--replace').status, 0);
  t.match(command('--prefix', bin, '--uninstall').stdout, 'put back: bridge');
  t.equal(readFileSync(join(bin, 'bridge'), 'utf8'), 'theirs');
  t.strictSame(readdirSync(bin).sort(), ['bridge', 'dhcp']);
});

t.test('a compiled form that cannot run', async (t) => {
  // A dist of its own, which is up to date as far as its stamp tells, with an executable that is none.
  const dist = join(folder, 'dist');
  const { outDir } = await buildCni({ form: 'compiled' });
  mkdirSync(join(dist, 'cni'), { recursive: true });
  copyFileSync(join(outDir, '.sources'), join(dist, 'cni/.sources'));
  for (const name of ['podwire-cni', ...pluginTypes]) {
    writeFileSync(join(dist, 'cni', name), '\x7fELF of another world');
    chmodSync(join(dist, 'cni', name), 0o755);
  }
  const said: string[] = [];
  const prefix = join(folder, 'c');
  const options = { prefix, dist, replace: false, say: (line: string) => said.push(line) };
  t.ok(await install(options));
  t.match(said[0], /the compiled form cannot run here .*; trying Node's/);
  t.match(said[1], /in place: .*\(under Node\)/);
  t.ok(version(join(prefix, 'loopback')).supportedVersions);
  await t.rejects(install({ ...options, form: 'compiled', prefix: join(folder, 'd') }), {
    code: 'CNI_CANNOT_RUN',
    message: /Nothing was changed/,
  });
  t.strictSame(readdirSync(join(folder, 'd')), []);
  t.ok(uninstall({ prefix, say: () => {} }));
  t.strictSame(readdirSync(prefix), []);
});
