// Makes a clone ready to run: Debian packages, npm packages, tap's plugins, dist/. Called first by every npm script.
// Assumes only a Node from 20 on and npm: plain JavaScript, nothing imported but Node itself.
// Costs under 0.3 s when everything is there: it looks at files and starts one process (the build's own check).
import { spawn, spawnSync } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  fstatSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const repo = dirname(dirname(fileURLToPath(import.meta.url)));
const logFile = join(repo, 'dist', 'setup.log');
const bin = (name) => join(repo, 'node_modules', '.bin', name);
const say = (text) => process.stderr.write(`setup: ${text}\n`);

/** What a Pod needs, the program that shows it is there, and what serves instead where a release lacks it. */
const packages = [
  { name: 'crun', program: 'crun', instead: 'runc' },
  { name: 'runc', program: 'runc', instead: 'crun' },
  { name: 'conmon', program: 'conmon' },
  { name: 'catatonit', program: 'catatonit', instead: 'sleep' },
  {
    name: 'skopeo',
    program: 'skopeo',
    optional: 'images cannot be pulled from a registry; localhost/host works',
  },
  { name: 'umoci', program: 'umoci', optional: 'images cannot be unpacked; localhost/host works' },
  { name: 'nftables', program: 'nft' },
  { name: 'iproute2', program: 'ip' },
  { name: 'conntrack', program: 'conntrack', optional: 'stale connection entries stay until they expire' },
  { name: 'util-linux', program: 'unshare' },
  { name: 'mount', program: 'mount' },
  { name: 'kmod', program: 'modprobe', optional: 'kernel modules must be loaded already' },
  // The Node that npm brings is linked against it; a Debian without a compiler may not have it.
  { name: 'libatomic1', library: 'libatomic.so.1' },
];
/** Only what the tests themselves use. */
const testPackages = [
  { name: 'busybox-static', program: 'busybox', optional: 'tests that build small images are skipped' },
  { name: 'strace', program: 'strace', optional: 'plugins are not killed at every system call' },
  { name: 'containerd', program: 'containerd', optional: 'our plugins are not tested under containerd' },
  { name: 'podman', program: 'podman', optional: 'our plugins are not tested under podman' },
  {
    name: 'containernetworking-plugins',
    program: '/usr/lib/cni/bridge',
    optional: 'the reference plugins are not tested under our runtime library',
  },
  {
    name: 'etcd-server',
    program: 'etcd',
    optional: 'the store is tested over SQLite only',
    service: 'etcd.service',
  },
  {
    name: 'docker-registry',
    program: 'docker-registry',
    optional: 'registries with credentials are not tested',
    service: 'docker-registry.service',
  },
];

await main();

async function main() {
  mkdirSync(join(repo, 'dist'), { recursive: true });
  if (Number(process.versions.node.split('.')[0]) < 20)
    fail(`Node ${process.versions.node} is too old: 20 or newer is needed`);
  const forTests = process.env.npm_lifecycle_event === 'test' || process.argv.includes('--tests');
  await debianPackages(forTests ? [...packages, ...testPackages] : packages);
  await npmPackages();
  await tapPlugins();
  await build();
}

// ── Debian packages ────────────────────────────────────────────────────────────────────────────────────────────────

async function debianPackages(wanted) {
  const missing = wanted.filter((item) => !isThere(item));
  if (missing.length === 0) return;
  const names = missing.map((item) => item.name);
  if (process.getuid?.() !== 0) {
    say(`missing: ${missing.map(shows).join(' ')}`);
    say(
      `not root, so going on without them; to install: sudo apt-get install --no-install-recommends ${names.join(' ')}`,
    );
    return;
  }
  if (!findProgram('apt-get')) {
    say(`missing: ${missing.map(shows).join(' ')}; this is no Debian or Ubuntu: please install them`);
    return;
  }
  await withoutStarting(missing, () => aptInstall(names));
  for (const item of missing.filter((each) => !isThere(each))) reportAbsent(item);
  if (!findProgram('crun') && !findProgram('runc'))
    fail('neither crun nor runc could be installed: no container can run');
}

/**
 * What only tests need brings a service that would run from now on: neither now nor at the next boot does it start.
 * invoke-rc.d and deb-systemd-invoke ask this file (101: not allowed); one that is there already is somebody else's.
 */
async function withoutStarting(items, install) {
  const services = items.flatMap((item) => item.service ?? []);
  const policy = '/usr/sbin/policy-rc.d';
  const ours = services.length > 0 && !existsSync(policy);
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    await install();
  } finally {
    if (ours) rmSync(policy, { force: true });
  }
  for (const service of services)
    spawnSync('systemctl', ['disable', '--now', service], { stdio: 'ignore', env: aptEnv() });
}

async function aptInstall(names) {
  let known = candidates(names);
  if (known.length < names.length) {
    await logged('Debian packages: apt-get update', ['apt-get', 'update', '-q'], { mayFail: true });
    known = candidates(names);
  }
  const install = (list) => [
    'apt-get',
    'install',
    '-y',
    '-q',
    '--no-install-recommends',
    '-o',
    'DPkg::Lock::Timeout=180',
    ...list,
  ];
  if (known.length === 0) return;
  const what = `Debian packages: installing ${known.join(' ')}`;
  if (await logged(what, install(known), { mayFail: true })) return;
  // The lists may be older than the archive; and one package that cannot be had must not take the others with it.
  await logged('Debian packages: apt-get update, then again', ['apt-get', 'update', '-q'], { mayFail: true });
  if (await logged(what, install(known), { mayFail: true })) return;
  for (const name of known)
    await logged(`Debian packages: installing ${name} alone`, install([name]), { mayFail: true });
}

/** Those of `names` that this release has, by apt's lists. */
function candidates(names) {
  const { stdout = '' } = spawnSync('apt-cache', ['policy', ...names], { encoding: 'utf8', env: aptEnv() });
  const found = new Set();
  let current = '';
  for (const line of stdout.split('\n')) {
    if (/^\S.*:$/.test(line)) current = line.slice(0, -1);
    else if (/^\s+Candidate:/.test(line) && !line.includes('(none)')) found.add(current);
  }
  return names.filter((name) => found.has(name));
}

function reportAbsent(item) {
  if (item.instead) say(`${item.name}: not to be had in this release; ${item.instead} is used instead`);
  else if (item.optional) say(`${item.name}: not to be had in this release: ${item.optional}`);
  else fail(`${item.name} could not be installed (see ${logFile}): podwire cannot do without ${shows(item)}`);
}

function aptEnv() {
  return { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' };
}

// ── npm packages ───────────────────────────────────────────────────────────────────────────────────────────────────

async function npmPackages() {
  const why = npmMisfit();
  if (why) {
    const [npm, env] = npmCommand();
    await logged(
      `npm packages: npm ci, because ${why} (half a minute)`,
      [...npm, 'ci', '--no-fund', '--no-audit', '--prefer-offline'],
      { env },
    );
  }
  if (!nodeWorks()) {
    // With ignore-scripts=true in a person's npmrc the `node` package cannot fetch its binary.
    const [npm, env] = npmCommand();
    await logged(
      'npm packages: fetching the Node binary',
      [...npm, 'rebuild', 'node', 'bun', '--ignore-scripts=false'],
      { env },
    );
    if (!nodeWorks()) fail(`${bin('node')} does not run; see ${logFile}`);
  }
}

/** Why node_modules does not fit package-lock.json, or '' when it does. */
function npmMisfit() {
  const installed = readJson(join(repo, 'node_modules', '.package-lock.json'));
  if (!installed) return 'node_modules is missing';
  const wanted = readJson(join(repo, 'package-lock.json')).packages;
  const have = installed.packages;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || entry.link) continue;
    const there = have[path];
    if (!there && !entry.optional) return `${path} is missing`;
    if (there && there.version !== entry.version) return `${path} is ${there.version}, not ${entry.version}`;
  }
  return '';
}

/** npm's command line and environment, on a Node that `npm ci` does not delete under itself. */
function npmCommand() {
  const own = join(repo, 'node_modules');
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.startsWith(own));
  const env = { ...process.env, PATH: path.join(delimiter), NODE_ENV: 'development' };
  const outer = process.env.npm_node_execpath;
  const script = process.env.npm_execpath;
  if (outer && script && !outer.startsWith(own) && existsSync(outer) && existsSync(script))
    return [[outer, script], env];
  return [['npm'], env];
}

function nodeWorks() {
  try {
    // The version is in the package; starting the binary costs 20 ms and is done by the build step anyway.
    accessSync(bin('node'), constants.X_OK);
    const fd = openSync(bin('node'), 'r');
    const head = Buffer.alloc(4);
    readSync(fd, head, 0, 4, 0);
    const { size } = fstatSync(fd);
    closeSync(fd);
    return head.toString('latin1') === '\x7fELF' && size > 1e6;
  } catch {
    return false;
  }
}

// ── tap and dist ───────────────────────────────────────────────────────────────────────────────────────────────────

/** tap's TypeScript plugin is switched off in .taprc; tap must be rebuilt once for that to hold (`npx tap run`). */
async function tapPlugins() {
  const built = join(repo, 'node_modules', '@tapjs', 'test', 'test-built', 'dist', 'esm', 'index.js');
  if (existsSync(join(repo, '.tap', 'plugins')) && !readFileSync(built, 'utf8').includes('@tapjs/typescript'))
    return;
  await logged('tap: building its plugins', [bin('tap'), 'build'], { env: ownNodeFirst(), mayFail: true });
}

async function build() {
  const { status } = spawnSync(bin('node'), [join(repo, 'scripts', 'build.ts')], {
    stdio: 'inherit',
    cwd: repo,
    env: ownNodeFirst(),
  });
  if (status !== 0) fail('the build failed');
}

function ownNodeFirst() {
  return {
    ...process.env,
    PATH: `${join(repo, 'node_modules', '.bin')}${delimiter}${process.env.PATH ?? ''}`,
  };
}

// ── helpers ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Runs a slow command with its output in the log; says how long it took; shows the log's end when it fails. */
function logged(what, [file, ...args], { env = aptEnv(), mayFail = false } = {}) {
  const started = Date.now();
  say(`${what} …`);
  const log = openSync(logFile, 'a', 0o600);
  const child = spawn(file, args, { cwd: repo, env, stdio: ['ignore', log, log] });
  const seconds = () => `${((Date.now() - started) / 1000).toFixed(1)} s`;
  const pulse = setInterval(() => say(`  still at it (${seconds()}) …`), 15_000);
  return new Promise((done) => {
    const end = (ok, how) => {
      clearInterval(pulse);
      closeSync(log);
      say(ok ? `  done in ${seconds()}` : `  failed: ${how}`);
      if (!ok) process.stderr.write(`${tail(logFile, 25)}\n`);
      if (!ok && !mayFail) fail(`${what}: ${how} (all of it in ${logFile})`);
      done(ok);
    };
    child.on('error', (error) => end(false, error.message));
    child.on('close', (code, signal) => end(code === 0, signal ?? `exit code ${code}`));
  });
}

/** What shows that a package is there: its program, or its library. */
function shows(item) {
  return item.program ?? item.library;
}

function isThere(item) {
  return item.library ? hasLibrary(item.library) : findProgram(item.program) !== undefined;
}

/** Looks where Debian and Ubuntu have libraries; elsewhere the dynamic linker may know more than we do. */
function hasLibrary(name) {
  const triplet = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[process.arch] ?? '';
  return ['/lib', '/usr/lib', '/lib64', '/usr/lib64', '/usr/local/lib'].some(
    (folder) => existsSync(join(folder, triplet, name)) || existsSync(join(folder, name)),
  );
}

function findProgram(name) {
  if (name.startsWith('/')) return existsSync(name) ? name : undefined;
  const system = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...system];
  return folders.find((folder) => folder !== '' && existsSync(join(folder, name)));
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function tail(path, lines) {
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .slice(-lines)
    .map((line) => `  | ${line}`)
    .join('\n');
}

function fail(text) {
  say(text);
  process.exit(1);
}
