// The images of a node: names in refs.json, blobs in one OCI layout, each image unpacked once to a read-only root.
// Assumes skopeo and umoci; localhost/host is built in and needs neither. Every fetch works in a staging folder and is
// renamed into place, so a crash leaves only staging to sweep. A lookup is a map access; disk is one root an image.
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { messageOf } from '../../exec/errors.ts';
import { type Exec, run } from '../../exec/exec.ts';
import type { NodePaths } from '../../kernel/paths.ts';
import { openArchive } from './archive.ts';
import type { Image, ImageService, PullOptions, RegistryLogin } from '../cri.ts';
import { ImageError } from '../errors.ts';
import { hostImageConfig, type ImageConfig, parseImageConfig } from './config.ts';
import {
  collectBlobs,
  emptyStaging,
  imageFiles,
  listRoots,
  makeStaging,
  type OciManifest,
  readBlobJson,
  readLayoutDigest,
  writeIndex,
} from './layout.ts';
import { RefTable } from './refs.ts';
import { fetchKey, withLogins } from './pull-logins.ts';
import { hostImage, isLocalRegistry, parseReference, type Reference } from './reference.ts';
import { SharedFetches, type Tell } from './shared-fetch.ts';
import { runSkopeo } from './skopeo.ts';

/** An image as a container needs it. */
export interface ImageRoot {
  /** Digest of the manifest, `sha256:…`; '' for localhost/host. */
  readonly id: string;
  /** Read-only folders, the topmost first, for overlay. */
  readonly lower: readonly [string, ...string[]];
  readonly config: ImageConfig;
  /** The machine's own root: the node's state in it must be hidden. */
  readonly hostRoot: boolean;
}

/** Tells who uses an image (a container's name), or nothing: asked before an image is removed. */
export type ImageUser = (imageId: string) => string | undefined;

export interface ImageStore extends ImageService {
  /** The unpacked root. @throws ImageError ErrImageNeverPull when it is not present, InvalidImageName */
  rootfs(ref: string): Promise<ImageRoot>;
  /** Sweeps what a crash left behind. For the daemon, once, first. */
  recover(): Promise<void>;
  addUser(user: ImageUser): void;
}

export interface ImageStoreOptions {
  readonly paths: Pick<NodePaths, 'images'>;
  readonly exec?: Exec;
}

interface Working {
  readonly onProgress: Tell;
  readonly signal?: AbortSignal;
}

const hostRoot: ImageRoot = { id: '', lower: ['/'], config: hostImageConfig, hostRoot: true };

export function createImageStore(options: ImageStoreOptions): ImageStore {
  return new LocalImageStore(options);
}

class LocalImageStore implements ImageStore {
  readonly #files: ReturnType<typeof imageFiles>;
  readonly #refs: RefTable;
  readonly #exec: Exec;
  readonly #fetches = new SharedFetches<Image>();
  readonly #roots = new Map<string, ImageRoot>();
  readonly #users: ImageUser[] = [];
  #working = 0;

  constructor({ paths, exec = run }: ImageStoreOptions) {
    this.#files = imageFiles(paths.images);
    this.#refs = new RefTable(this.#files.refs);
    this.#exec = exec;
  }

  addUser(user: ImageUser): void {
    this.#users.push(user);
  }

  async recover(): Promise<void> {
    await emptyStaging(this.#files);
  }

  async list(): Promise<Image[]> {
    return [builtIn(), ...this.#refs.list()];
  }

  async status(ref: string): Promise<Image | undefined> {
    const { normalized } = parseReference(ref);
    return normalized === hostImage ? builtIn() : this.#refs.get(normalized);
  }

  async rootfs(ref: string): Promise<ImageRoot> {
    const { normalized } = parseReference(ref);
    if (normalized === hostImage) return hostRoot;
    const image = this.#refs.get(normalized);
    if (!image)
      throw new ImageError(
        'ErrImageNeverPull',
        ref,
        `image ${ref} is not present here (podwire image pull ${ref})`,
      );
    const known = this.#roots.get(image.id);
    if (known) return known;
    const root: ImageRoot = {
      id: image.id,
      lower: [this.#files.root(image.id)],
      config: await this.#readConfig(image.id),
      hostRoot: false,
    };
    this.#roots.set(image.id, root);
    return root;
  }

  async pull(ref: string, options: PullOptions = {}): Promise<Image> {
    const reference = parseReference(ref);
    if (reference.normalized === hostImage) return builtIn();
    if (reference.registry === 'localhost')
      throw new ImageError(
        'ErrImagePull',
        ref,
        `image ${ref}: localhost without a port is no registry, and it is not present here (podwire image import ARCHIVE)`,
      );
    const { logins = [] } = options;
    return this.#fetches.join(fetchKey(reference.normalized, logins), options, (signal, onProgress) =>
      withLogins(logins, signal, (login) => this.#pull(reference, { login, signal, onProgress })),
    );
  }

  #pull(
    reference: Reference,
    how: { login: RegistryLogin | undefined; signal: AbortSignal; onProgress: Tell },
  ): Promise<Image> {
    const { login, signal, onProgress } = how;
    const { registry, repository, tag, digest, normalized } = reference;
    return this.#work(async (staging) => {
      const source = `docker://${registry}/${repository}${digest ? `@${digest}` : `:${tag}`}`;
      const insecure = isLocalRegistry(registry);
      const auth = login && { registry, login, file: `${staging}.auth` };
      await runSkopeo({ source, target: staging, insecure, auth, signal, onProgress }, normalized);
      return this.#adopt(staging, reference, { onProgress, signal });
    });
  }

  async importArchive(
    path: string,
    options: { ref?: string; onProgress?: (line: string) => void } = {},
  ): Promise<Image[]> {
    const { ref, onProgress = () => {} } = options;
    return this.#work(async (scratch) => {
      const archive = await openArchive(resolve(path), join(scratch, 'archive.tar'));
      if (archive.images.length === 0)
        throw new ImageError('InvalidArchive', path, `${path}: it holds no image`);
      if (ref !== undefined && archive.images.length > 1)
        throw new ImageError(
          'InvalidArchive',
          path,
          `${path}: it holds ${archive.images.length} images: give no name`,
        );
      const imported: Image[] = [];
      for (const { selector, names } of archive.images) {
        const references = (ref !== undefined ? [ref] : names).map(parseReference);
        if (references.length === 0)
          throw new ImageError(
            'InvalidImageName',
            path,
            `${path}: an image in it has no name: give one with --ref NAME`,
          );
        for (const { normalized } of references) refuseHost(normalized, path);
        const image = { kind: archive.kind, path: archive.path, selector };
        imported.push(...(await this.#importOne(image, references, onProgress)));
      }
      return imported;
    });
  }

  async remove(ref: string): Promise<void> {
    const { normalized } = parseReference(ref);
    refuseHost(normalized, ref);
    const image = this.#refs.get(normalized);
    if (!image) throw new ImageError('ImageNotFound', ref, `image ${ref} is not present here`);
    const otherNames = this.#refs
      .list()
      .filter(({ id, ref: name }) => id === image.id && name !== normalized);
    const user = this.#userOf(image.id);
    if (user !== undefined && otherNames.length === 0)
      throw new ImageError('ImageInUse', ref, `image ${ref} is used by ${user}: delete that first`);
    this.#refs.delete(normalized);
    this.#writeIndex();
    if (otherNames.length > 0) return;
    this.#roots.delete(image.id);
    await this.#collect();
  }

  #userOf(id: string): string | undefined {
    for (const ask of this.#users) {
      const user = ask(id);
      if (user !== undefined) return user;
    }
    return undefined;
  }

  async #importOne(
    image: { kind: string; path: string; selector: string },
    references: readonly Reference[],
    onProgress: (line: string) => void,
  ): Promise<Image[]> {
    return this.#work(async (staging) => {
      const source = { ...image, link: join(staging, 'archive') };
      await runSkopeo({ source, target: staging, insecure: false, onProgress }, image.path);
      const images: Image[] = [];
      for (const reference of references) images.push(await this.#adopt(staging, reference, { onProgress }));
      return images;
    });
  }

  /** Unpacks what skopeo put into a staging layout, and gives it its name. */
  async #adopt(staging: string, reference: Reference, how: Working): Promise<Image> {
    const id = readLayoutDigest(staging);
    const root = this.#files.root(id);
    if (!existsSync(root)) {
      how.onProgress('Unpacking');
      const fresh = join(staging, 'rootfs');
      await this.#unpack({ staging, target: fresh, reference }, how.signal);
      mkdirSync(this.#files.roots, { recursive: true, mode: 0o700 });
      renameIfAbsent(fresh, root);
    }
    const manifest = readBlobJson(this.#files, id) as OciManifest;
    const image: Image = {
      ref: reference.normalized,
      id,
      sizeBytes: manifest.layers.reduce((sum, layer) => sum + layer.size, manifest.config.size),
      pulledAt: new Date().toISOString(),
    };
    this.#refs.set(image);
    this.#writeIndex();
    return image;
  }

  async #unpack(
    { staging, target, reference }: { staging: string; target: string; reference: Reference },
    signal: AbortSignal | undefined,
  ): Promise<void> {
    try {
      await this.#exec({
        argv: ['umoci', 'raw', 'unpack', '--image', `${staging}:image`, target],
        timeoutMs: 30 * 60_000,
        ...(signal ? { signal } : {}),
      });
    } catch (error) {
      const { normalized } = reference;
      throw new ImageError(
        'ErrImagePull',
        normalized,
        `image ${normalized} cannot be unpacked: ${messageOf(error)}`,
        {
          cause: error,
        },
      );
    }
  }

  async #readConfig(id: string): Promise<ImageConfig> {
    const manifest = readBlobJson(this.#files, id) as OciManifest;
    return parseImageConfig(readBlobJson(this.#files, manifest.config.digest));
  }

  /** Gives work a staging folder of its own, and sweeps it whatever happens. */
  async #work<T>(work: (staging: string) => Promise<T>): Promise<T> {
    const staging = makeStaging(this.#files);
    this.#working++;
    try {
      return await work(staging);
    } finally {
      this.#working--;
      rmSync(staging, { recursive: true, force: true });
    }
  }

  #writeIndex(): void {
    writeIndex(this.#files, this.#refs.list());
  }

  /** A fetch under way owns blobs that no name has yet: then the sweep is left to the next time. */
  async #collect(): Promise<void> {
    if (this.#working > 0) return;
    // An image whose name went to a newer one stays while a container stands on it.
    const used = listRoots(this.#files).filter((id) => this.#userOf(id) !== undefined);
    await collectBlobs(this.#files, new Set([...used, ...this.#refs.list().map(({ id }) => id)]));
  }
}

function builtIn(): Image {
  return { ref: hostImage, id: '', sizeBytes: 0, pulledAt: new Date(0).toISOString() };
}

function refuseHost(normalized: string, what: string): void {
  if (normalized === hostImage)
    throw new ImageError('ImageInUse', what, `${hostImage} is built in: it cannot be replaced or removed`);
}

/** Another process may have unpacked the same image meanwhile: then its copy is as good. */
function renameIfAbsent(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
}
