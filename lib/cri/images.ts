// ImageService over a CRI socket: the images are the runtime's own (containerd: those of its namespace k8s.io).
// Assumes the runtime keeps them; nothing is cached here. What the CRI has no call for is refused with the way that there is.
import type { Image, ImageService, PullOptions } from '../container/cri.ts';
import { ImageError } from '../container/errors.ts';
import { fetchKey, withLogins } from '../container/image/pull-logins.ts';
import { SharedFetches } from '../container/image/shared-fetch.ts';
import { hostImage, parseReference } from '../container/image/reference.ts';
import { messageOf } from '../exec/errors.ts';
import type { CriConnection } from './connection.ts';
import type { RemoteImage } from './messages.ts';
import { type Login, registryLogin } from './registry-login.ts';
import { digestOf } from './status.ts';

/** A pull has half an hour, as with our own. */
const pullMs = 30 * 60_000;

/** Tells the container that uses an image whose references `isIt` knows. */
export type ImageUser = (isIt: (image: string) => boolean) => string | undefined;

export class CriImages implements ImageService {
  readonly #connection: CriConnection;
  readonly #users: ImageUser[] = [];
  readonly #fetches = new SharedFetches<Image>();

  constructor(connection: CriConnection) {
    this.#connection = connection;
  }

  addUser(user: ImageUser): void {
    this.#users.push(user);
  }

  async list(): Promise<Image[]> {
    const { images } = await this.#connection.call('ListImages', {});
    return images.flatMap((image) =>
      (image.repoTags.length > 0 ? image.repoTags : image.repoDigests).map((ref) => toImage(image, ref)),
    );
  }

  async status(ref: string): Promise<Image | undefined> {
    const image = await this.#remote(ref);
    return image && toImage(image, parseReference(ref).normalized);
  }

  /** The image of a container. @throws ImageError ErrImageNeverPull when it is not present, InvalidImageName */
  async find(ref: string): Promise<RemoteImage> {
    const image = await this.#remote(ref);
    if (image) return image;
    throw new ImageError(
      'ErrImageNeverPull',
      ref,
      `image ${ref} is not present here (podwire image pull ${ref})`,
    );
  }

  async pull(ref: string, options: PullOptions = {}): Promise<Image> {
    const { normalized, registry } = parse(ref);
    if (registry === 'localhost')
      throw new ImageError(
        'ErrImagePull',
        ref,
        `image ${ref}: localhost without a port is no registry, and it is not present here (${importing('ARCHIVE')})`,
      );
    options.onProgress?.(`The container runtime pulls ${normalized}`); // how far it is, the CRI does not tell
    const { logins = [] } = options;
    return this.#fetches.join(fetchKey(normalized, logins), options, (signal) =>
      withLogins(logins, signal, (login) => {
        const auth = login ? { ...login, serverAddress: registry } : registryLogin(registry);
        return this.#pull(normalized, auth, signal);
      }),
    );
  }

  async #pull(ref: string, auth: Login | undefined, signal: AbortSignal): Promise<Image> {
    try {
      const request = { image: { image: ref }, ...(auth ? { auth } : {}) };
      await this.#connection.call('PullImage', request, { timeoutMs: pullMs, signal });
    } catch (error) {
      throw new ImageError('ErrImagePull', ref, `image ${ref}: ${messageOf(error)}`, { cause: error });
    }
    return toImage(await this.find(ref), ref);
  }

  async importArchive(path: string): Promise<Image[]> {
    throw new ImageError(
      'InvalidArchive',
      path,
      `the container runtime keeps the images, and the CRI has no call to import one: ${importing(path)}`,
    );
  }

  async remove(ref: string): Promise<void> {
    const { normalized } = parse(ref);
    const image = await this.#remote(ref);
    if (!image) throw new ImageError('ImageNotFound', ref, `image ${ref} is not present here`);
    const names = new Set([normalized, ...image.repoTags, ...image.repoDigests]);
    const isIt = (other: string): boolean => names.has(parseReference(other).normalized);
    for (const ask of this.#users) {
      const user = ask(isIt);
      if (user !== undefined)
        throw new ImageError('ImageInUse', ref, `image ${ref} is used by ${user}: delete that first`);
    }
    await this.#connection.call('RemoveImage', { image: { image: normalized } });
  }

  async #remote(ref: string): Promise<RemoteImage | undefined> {
    const { normalized } = parse(ref);
    const { image } = await this.#connection.call('ImageStatus', { image: { image: normalized } });
    return image ?? undefined;
  }
}

/** @throws ImageError InvalidImageName, also for the machine's own root, which no other runtime has */
function parse(ref: string): { normalized: string; registry: string } {
  const reference = parseReference(ref);
  if (reference.normalized === hostImage)
    throw new ImageError(
      'InvalidImageName',
      ref,
      `image ${ref}: only podwire's own runtime can show containers the machine's root; with --runtime-endpoint name an image`,
    );
  return reference;
}

const importing = (archive: string): string => `with containerd: ctr -n k8s.io images import ${archive}`;

const toImage = ({ id, repoDigests, size }: RemoteImage, ref: string): Image => ({
  ref,
  id: digestOf(repoDigests[0] ?? id),
  sizeBytes: Number(size),
  pulledAt: '', // the CRI does not tell
});
