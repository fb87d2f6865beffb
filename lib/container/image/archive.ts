// What an image archive is and which images it holds: docker-archive or oci-archive, told by its content.
// Assumes a tar file, perhaps packed by gzip or zstd; nothing is extracted here (skopeo does that).
// Reads one header of 512 bytes a member and skips the rest; a packed archive is unpacked to a scratch file first.
import { createReadStream, createWriteStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { ImageError } from '../errors.ts';

export interface ArchivedImage {
  /** skopeo's way to name it inside the archive: `@0` in a docker-archive, a tag or nothing in an oci-archive. */
  readonly selector: string;
  /** As the archive says, e.g. nginx:1.27; may be none. */
  readonly names: readonly string[];
}

export interface Archive {
  readonly kind: 'docker-archive' | 'oci-archive';
  /** A plain tar file: the archive itself, or `scratch` when it was packed. */
  readonly path: string;
  readonly images: readonly ArchivedImage[];
}

/**
 * Looks into an archive. `scratch` is where a packed one is unpacked to.
 * @throws ImageError InvalidArchive when it is none of the two kinds, or cannot be read
 */
export async function openArchive(path: string, scratch: string): Promise<Archive> {
  const refuse = (why: string, cause?: unknown): never => {
    throw new ImageError('InvalidArchive', path, `${path}: ${why}`, { cause });
  };
  let plain: string;
  let members: Map<string, string>;
  try {
    plain = await unpacked(path, scratch);
    members = await readMembers(plain, ['manifest.json', 'index.json']);
  } catch (error) {
    return refuse(`cannot be read as an image archive: ${(error as Error).message}`, error);
  }
  try {
    const manifest = members.get('manifest.json');
    if (manifest !== undefined)
      return { kind: 'docker-archive', path: plain, images: dockerImages(JSON.parse(manifest)) };
    const index = members.get('index.json');
    if (index !== undefined)
      return { kind: 'oci-archive', path: plain, images: ociImages(JSON.parse(index)) };
  } catch (error) {
    return refuse(`its table of contents is broken: ${(error as Error).message}`, error);
  }
  return refuse('no image archive: it holds neither manifest.json (docker save) nor index.json (OCI layout)');
}

/** manifest.json of `docker save`. Pure. */
export function dockerImages(manifest: unknown): ArchivedImage[] {
  if (!Array.isArray(manifest)) throw new TypeError('manifest.json is no list');
  return manifest.map((entry: { RepoTags?: unknown }, index) => ({
    selector: `@${index}`,
    names: Array.isArray(entry?.RepoTags) ? entry.RepoTags.filter((name) => typeof name === 'string') : [],
  }));
}

interface Descriptor {
  readonly annotations?: Record<string, string>;
}

/** index.json of an OCI layout; containerd's annotation holds the full name, OCI's perhaps only a tag. Pure. */
export function ociImages(index: unknown): ArchivedImage[] {
  const { manifests } = (index ?? {}) as { manifests?: Descriptor[] };
  if (!Array.isArray(manifests)) throw new TypeError('index.json lists no manifests');
  return manifests.map(({ annotations = {} }) => {
    const refName = annotations['org.opencontainers.image.ref.name'];
    const full =
      annotations['io.containerd.image.name'] ?? (refName && /[/:@]/.test(refName) ? refName : undefined);
    return { selector: manifests.length > 1 ? (refName ?? '') : '', names: full ? [full] : [] };
  });
}

async function unpacked(path: string, scratch: string): Promise<string> {
  const handle = await open(path);
  const magic = Buffer.alloc(4);
  try {
    await handle.read(magic, 0, 4, 0);
  } finally {
    await handle.close();
  }
  const gzip = magic[0] === 0x1f && magic[1] === 0x8b;
  const zstd = magic.readUInt32LE(0) === 0xfd2fb528;
  if (!gzip && !zstd) return path;
  await pipeline(
    createReadStream(path),
    gzip ? createGunzip() : createZstdDecompress(),
    createWriteStream(scratch),
  );
  return scratch;
}

const block = 512;
const largestTable = 16 * 1024 * 1024;

/** The texts of some members of a plain tar file, found by their names at its top level. */
async function readMembers(path: string, wanted: readonly string[]): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const handle = await open(path);
  try {
    let at = 0;
    for (;;) {
      const header = await readAt(handle, at, block);
      if (header.length < block || header.every((byte) => byte === 0)) return found;
      const member = parseHeader(header);
      if (!member) throw new Error(`no tar header at byte ${at}`);
      const name = member.name.replace(/^\.\//, '');
      if (wanted.includes(name)) {
        if (member.size > largestTable) throw new Error(`${name} is larger than 16 MiB`);
        found.set(name, (await readAt(handle, at + block, member.size)).toString('utf8'));
        if (found.size === wanted.length) return found;
      }
      at += block + Math.ceil(member.size / block) * block;
    }
  } finally {
    await handle.close();
  }
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}

/** One ustar header; undefined when its checksum does not hold. Source: tar(5). Pure. */
export function parseHeader(header: Buffer): { name: string; size: number } | undefined {
  const text = (from: number, to: number): string =>
    header.toString('latin1', from, to).replace(/\0.*$/s, '');
  let sum = 0;
  for (let at = 0; at < block; at++) sum += at >= 148 && at < 156 ? 32 : header[at]!;
  if (Number.parseInt(text(148, 156).trim(), 8) !== sum) return undefined;
  // Sizes from 8 GiB on are binary, with the top bit set.
  const size =
    header[124]! & 0x80
      ? Number(header.readBigUInt64BE(128))
      : Number.parseInt(text(124, 136).trim() || '0', 8);
  return { name: text(0, 100), size };
}
