// A containerd of its own for one node under test: all its files in one folder, our CNI plugins, and one image with busybox
// in it. Assumes root and the Debian packages containerd, runc and busybox-static. It ends with the test and leaves nothing.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { buildArchive, needStatic } from '../../bench/lib/image.ts';
import { endProcess } from '../../bench/lib/wait.ts';
import { containerdSocket, startContainerdDaemon } from '../../bench/peers/containerd-daemon.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import { listMounts, unmountAll } from '../../lib/kernel/mount.ts';

const repo = join(import.meta.dirname, '../..');

/** Holds a shell and all of busybox: stands for localhost/host where containers need an image. */
export const testImage = 'localhost/podwire-e2e:1';
const pauseImage = 'localhost/podwire-e2e-pause:1';

/** Why there can be none here; undefined where there can. */
export function withoutContainerd(): string | undefined {
  const missing = ['containerd', 'ctr', 'runc', 'busybox'].filter((name) => !findProgram(name));
  if (missing.length > 0) return `not installed: ${missing.join(' ')}`;
  try {
    needStatic('busybox', 'busybox-static');
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** What containerd puts outside of its own folders, whatever its configuration says. */
const places = ['/run/containerd/s', '/run/containerd', '/var/lib/cni/results', '/var/lib/cni'];

export interface TestContainerd {
  readonly socket: string;
  /** Of its log and state. */
  readonly folder: string;
  /** SIGKILL, and a new one on the same state. Its shims live on. */
  restart(): Promise<void>;
}

/** Its network is whatever the conflists in `confDir` say. */
export async function startContainerd(t: Test, confDir: string): Promise<TestContainerd> {
  const before = new Set(places.filter((place) => existsSync(place)));
  // On disk: images are unpacked there.
  const folder = mkdtempSync('/var/tmp/podwire-containerd-');
  const root = join(folder, 'containerd');
  mkdirSync(root);
  const images = await buildImages(folder);
  const setup = {
    folder,
    root,
    confDir,
    pauseRef: pauseImage,
    ociRuntime: 'runc',
    binDir: join(repo, 'dist/cni'),
  } as const;
  let daemon = await startContainerdDaemon(setup, images);
  t.teardown(async () => {
    daemon.cri.close();
    await endProcess(daemon, 'SIGTERM');
    const shims = await run({ argv: ['pgrep', '-f', `containerd-shim.*${root}`], okCodes: [0, 1] });
    await unmountAll(folder);
    rmSync(folder, { recursive: true, force: true });
    for (const place of places.filter((one) => !before.has(one))) removeEmpty(place);
    const left = [...places.filter((one) => !before.has(one) && existsSync(one)), ...listMounts(folder)];
    if (shims.stdout !== '') left.push(`shims ${shims.stdout.trim().replaceAll('\n', ' ')}`);
    if (left.length > 0) throw new Error(`left by containerd: ${left.join(', ')}`);
  });
  return {
    socket: containerdSocket(root),
    folder,
    async restart() {
      daemon.cri.close();
      await endProcess(daemon, 'SIGKILL');
      daemon = await startContainerdDaemon(setup, { imageRef: testImage, pauseRef: pauseImage });
    },
  };
}

async function buildImages(folder: string) {
  const busybox = needStatic('busybox', 'busybox-static');
  const { stdout } = await run({ argv: [busybox, '--list'] });
  const links = Object.fromEntries(
    stdout.split('\n').flatMap((name) => (name && name !== 'busybox' ? [[`/bin/${name}`, 'busybox']] : [])),
  );
  const imageArchive = await buildArchive({
    folder: join(folder, 'image'),
    ref: testImage,
    programs: { '/bin/busybox': busybox },
    links,
    argv: ['/bin/sh'],
  });
  const pauseArchive = await buildArchive({
    folder: join(folder, 'pause'),
    ref: pauseImage,
    programs: { '/bin/busybox': busybox },
    links: {},
    argv: ['/bin/busybox', 'sleep', '2147483647'],
  });
  return { imageArchive, imageRef: testImage, pauseArchive, pauseRef: pauseImage };
}

function removeEmpty(folder: string): void {
  try {
    for (const name of readdirSync(folder)) if (folder.endsWith('/s')) rmSync(join(folder, name));
    rmdirSync(folder);
  } catch {
    // What is left in it is told.
  }
}
