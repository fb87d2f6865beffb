// The image that all peers run, and the pause image for who needs one: built here, from programs of the machine.
// Assumes busybox-static (and catatonit, where it is static). Format: docker-archive, which all three peers import.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PodwireError } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import type { Workload } from '../peers/peer.ts';

/** Ends at once on TERM, so that the time of a removal is the peer's and not the program's. */
const command = ['sh', '-c', `trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done`] as const;
const imageRef = 'localhost/podwire-bench:1';
const pauseRef = 'localhost/podwire-bench-pause:1';

export async function buildWorkload(folder: string): Promise<Workload> {
  const busybox = needStatic('busybox', 'busybox-static');
  const catatonit = findProgram('catatonit');
  const pause: Pick<Recipe, 'programs' | 'argv'> =
    catatonit && isStatic(catatonit)
      ? { programs: { '/pause': catatonit }, argv: ['/pause', '-P'] }
      : { programs: { '/bin/busybox': busybox }, argv: ['/bin/busybox', 'sleep', '2147483647'] };
  const imageArchive = await buildArchive({
    folder: join(folder, 'workload'),
    ref: imageRef,
    programs: { '/bin/busybox': busybox },
    links: { '/bin/sh': 'busybox', '/bin/sleep': 'busybox' },
    argv: [...command],
  });
  const pauseArchive = await buildArchive({
    folder: join(folder, 'pause'),
    ref: pauseRef,
    links: {},
    ...pause,
  });
  return { imageArchive, imageRef, command, pauseArchive, pauseRef };
}

export interface Recipe {
  readonly folder: string;
  readonly ref: string;
  /** Path in the image → program on this machine. */
  readonly programs: Readonly<Record<string, string>>;
  readonly links: Readonly<Record<string, string>>;
  readonly argv: readonly string[];
}

/** @returns path of the archive. Source of the format: moby's image specification v1.2 */
export async function buildArchive(recipe: Recipe): Promise<string> {
  const { folder, ref, argv } = recipe;
  const root = join(folder, 'root');
  const out = join(folder, 'out');
  mkdirSync(out, { recursive: true });
  for (const name of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp'])
    mkdirSync(join(root, name), { recursive: true });
  for (const [path, program] of Object.entries(recipe.programs)) {
    copyFileSync(program, join(root, path));
    chmodSync(join(root, path), 0o755);
  }
  for (const [path, target] of Object.entries(recipe.links)) symlinkSync(target, join(root, path));
  await tar(root, join(out, 'layer.tar'), ['.']);
  const config = JSON.stringify({
    architecture: { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? process.arch,
    os: 'linux',
    created: '2024-01-01T00:00:00Z',
    config: { Cmd: argv, Env: ['PATH=/bin'], WorkingDir: '/' },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(readFileSync(join(out, 'layer.tar')))}`] },
    history: [{ created: '2024-01-01T00:00:00Z', created_by: 'podwire bench' }],
  });
  const configName = `${sha256(config)}.json`;
  writeFileSync(join(out, configName), config);
  writeFileSync(
    join(out, 'manifest.json'),
    JSON.stringify([{ Config: configName, RepoTags: [ref], Layers: ['layer.tar'] }]),
  );
  const archive = join(folder, 'image.tar');
  await tar(out, `${archive}.tmp`, ['manifest.json', configName, 'layer.tar']);
  renameSync(`${archive}.tmp`, archive);
  return archive;
}

async function tar(from: string, to: string, names: readonly string[]): Promise<void> {
  const same = ['--numeric-owner', '--owner=0', '--group=0', '--sort=name', '--mtime=@0'];
  await run({ argv: ['tar', ...same, '-C', from, '-cf', to, ...names] });
}

const sha256 = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');

/** A program that names no dynamic loader runs in an image that holds nothing else. */
const isStatic = (program: string): boolean => {
  const head = readFileSync(program).subarray(0, 4096);
  return !head.includes('/ld-linux') && !head.includes('/ld-musl');
};

/** Path of a program that needs no libraries. @throws PodwireError PROGRAM_MISSING */
export function needStatic(program: string, debianPackage: string): string {
  const path = findProgram(program);
  if (path && isStatic(path)) return path;
  throw new PodwireError(
    'PROGRAM_MISSING',
    `${program}: ${path ? `${path} is not statically linked` : 'program not found'}; apt-get install ${debianPackage}`,
  );
}
