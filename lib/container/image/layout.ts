// The files of the image store: an OCI layout (oci/), unpacked roots (rootfs/<digest>/), staging folders, refs.json.
// Assumes one file system, for things are renamed from staging into place. Blobs are content-addressed and shared.
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../../kernel/files.ts';
import type { Image } from '../cri.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations?: Record<string, string>;
}

export interface OciManifest {
  readonly mediaType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** Where things are, below the images folder. Pure. */
export function imageFiles(images: string) {
  return {
    images,
    refs: join(images, 'refs.json'),
    oci: join(images, 'oci'),
    blobs: join(images, 'oci/blobs'),
    roots: join(images, 'rootfs'),
    staging: join(images, 'staging'),
    root: (digest: string): string => join(images, 'rootfs', checked(digest).replace(':', '-')),
  };
}
export type ImageFiles = ReturnType<typeof imageFiles>;

/** A digest becomes part of a path: it must be nothing but a digest. */
function checked(digest: string): string {
  if (!/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(digest))
    throw new TypeError(`${JSON.stringify(digest)} is no digest of an image's blob`);
  return digest;
}

export function blobPath(files: ImageFiles, digest: string): string {
  const [algorithm, hex] = checked(digest).split(':') as [string, string];
  return join(files.blobs, algorithm, hex);
}

export function readBlobJson(files: ImageFiles, digest: string): unknown {
  return JSON.parse(readFileSync(blobPath(files, digest), 'utf8'));
}

/** A new OCI layout of its own whose blobs are the store's: two skopeos would overwrite each other's index.json. */
export function makeStaging(files: ImageFiles): string {
  const staging = join(files.staging, randomBytes(8).toString('hex'));
  mkdirSync(join(files.blobs, 'sha256'), { recursive: true, mode: 0o700 });
  mkdirSync(staging, { recursive: true, mode: 0o700 });
  symlinkSync(files.blobs, join(staging, 'blobs'));
  return staging;
}

export async function emptyStaging(files: ImageFiles): Promise<void> {
  await rm(files.staging, { recursive: true, force: true });
}

/** Digest of the one manifest of a staging layout. */
export function readLayoutDigest(staging: string): string {
  const index = JSON.parse(readFileSync(join(staging, 'index.json'), 'utf8')) as { manifests: Descriptor[] };
  return checked(index.manifests[0]?.digest ?? '');
}

/** Makes oci/ a whole layout that other tools can read: `skopeo inspect oci:…/images/oci:NAME`. */
export function writeIndex(files: ImageFiles, images: readonly Image[]): void {
  const manifests = images.map(({ id, ref }) => {
    const text = readFileSync(blobPath(files, id));
    const { mediaType = 'application/vnd.oci.image.manifest.v1+json' } = JSON.parse(
      text.toString(),
    ) as OciManifest;
    const annotations = { 'org.opencontainers.image.ref.name': ref };
    return { mediaType, digest: id, size: text.length, annotations };
  });
  replaceFile(join(files.oci, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}\n');
  replaceFile(join(files.oci, 'index.json'), `${JSON.stringify({ schemaVersion: 2, manifests })}\n`);
}

/** Digests of the images that are unpacked. */
export function listRoots(files: ImageFiles): string[] {
  return list(files.roots).map((name) => name.replace('-', ':'));
}

/** Removes blobs and roots that no named manifest reaches. */
export async function collectBlobs(files: ImageFiles, manifests: ReadonlySet<string>): Promise<void> {
  const reached = new Set<string>();
  for (const id of manifests) {
    const { config, layers } = readBlobJson(files, id) as OciManifest;
    for (const digest of [id, config.digest, ...layers.map((layer) => layer.digest)])
      reached.add(blobPath(files, digest));
  }
  for (const algorithm of list(files.blobs))
    for (const hex of list(join(files.blobs, algorithm))) {
      const path = join(files.blobs, algorithm, hex);
      if (!reached.has(path)) rmSync(path, { force: true });
    }
  const roots = new Set([...manifests].map((id) => files.root(id)));
  for (const name of list(files.roots)) {
    const path = join(files.roots, name);
    if (!roots.has(path)) await rm(path, { recursive: true, force: true });
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
