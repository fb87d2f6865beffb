// Our plugins under runtimes that this project did not write: the original cnitool, containerd, podman; the reference
// plugins under our lib/cni. All in a cell of its own (bench/lib/cell.ts): the machine's runtimes are not touched.
// A peer that is not there is skipped with its reason.
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { cellEmpty, enterCell, makeCellFolder, sweep } from '../../bench/lib/cell.ts';
import { cgroupProcs } from '../../lib/kernel/cgroup.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import { buildCni } from '../../scripts/build-cni.ts';
import type { Peers } from './cni-cell.ts';

const repo = fileURLToPath(new URL('../..', import.meta.url));
const version = 'v1.3.0';
const goPlugins = '/usr/lib/cni';

/** Built once and kept in dist; Go's own folders are temporary. @throws where Go or the module cannot be had */
async function originalCnitool(): Promise<string> {
  const kept = join(repo, `dist/peers/cnitool-${version}`);
  if (existsSync(kept)) return kept;
  const go = ['/usr/local/go/bin/go', findProgram('go')].find((path) => path && existsSync(path));
  if (!go) throw new Error('Go is not installed');
  const folder = mkdtempSync(join(tmpdir(), 'podwire-go-'));
  try {
    await run({
      argv: [go, 'install', `github.com/containernetworking/cni/cnitool@${version}`],
      env: {
        ...goSettings(),
        HOME: folder,
        GOPATH: join(folder, 'path'),
        GOCACHE: join(folder, 'cache'),
        GOBIN: join(folder, 'bin'),
        GOFLAGS: '-modcacherw',
        CGO_ENABLED: '0',
      },
      timeoutMs: 180_000,
    });
    mkdirSync(join(repo, 'dist/peers'), { recursive: true });
    await run({ argv: ['cp', join(folder, 'bin/cnitool'), `${kept}.tmp`] });
    renameSync(`${kept}.tmp`, kept);
    return kept;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** How this machine reaches modules. */
const goSettings = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(process.env).filter(
      (pair): pair is [string, string] =>
        /^(GOPROXY|GONOSUMDB|GONOSUMCHECK|GOSUMDB|GONOPROXY|GOINSECURE|https?_proxy|no_proxy|SSL_CERT_FILE)$/i.test(
          pair[0],
        ) && pair[1] !== undefined,
    ),
  );

const needed = ['catatonit', 'unshare', 'setpriv', 'busybox', 'crun', 'nft'].filter(
  (name) => !findProgram(name),
);
t.setTimeout(400_000);
const skip = needed.length > 0 ? `not installed: ${needed.join(' ')}` : false;

t.test('one network, all runtimes', { skip, timeout: 400_000 }, async (t) => {
  const absent = (what: string, why: string) => t.test(what, { skip: why }, async () => {});
  await buildCni({ form: 'compiled' });
  const has = (...programs: string[]) => programs.every((name) => findProgram(name));
  let cnitool = '';
  try {
    cnitool = await originalCnitool();
  } catch (error) {
    absent('the original cnitool', `it cannot be built: ${messageOf(error).slice(0, 300)}`);
  }
  const peers: Peers = {
    containerd: has('containerd', 'ctr', 'runc'),
    podman: has('podman', 'conmon'),
    cnitool,
    goPlugins,
  };
  if (!peers.containerd) absent('containerd', 'not installed: apt-get install containerd runc');
  if (!peers.podman) absent('podman', 'not installed: apt-get install podman');
  if (!existsSync(join(goPlugins, 'bridge')))
    absent('the reference plugins', 'not installed: apt-get install containernetworking-plugins');

  const libpod = cgroupProcs('libpod_parent').length === 0;
  const folder = makeCellFolder();
  try {
    const cell = fileURLToPath(new URL('cni-cell.ts', import.meta.url));
    const session = await enterCell([process.execPath, cell, folder, JSON.stringify(peers)], {});
    let text = '';
    let errors = '';
    session.onStdout((chunk) => (text += chunk));
    session.onStderr((chunk) => (errors += chunk));
    t.teardown(() => session.kill());
    t.equal(await session.exit, 0, 'the cell ends by itself', { errors });
    const findings = text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { what: string; ok: boolean; why: string });
    for (const { what, ok, why } of findings) t.ok(ok, what, { why });
    t.strictSame(findings.at(-1)?.what, 'uninstall leaves nothing', 'it came to the end');
    t.strictSame(await cellEmpty(folder), [], 'no process is left');
  } finally {
    await sweep(folder, { libpod, keep: false });
  }
  t.notOk(existsSync(folder));
});
