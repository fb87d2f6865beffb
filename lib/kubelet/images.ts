// Gets a container's image before it starts, by its pull policy, with back-off between failed pulls.
// Assumes ImageService folds concurrent pulls of one reference into one. O(1) a container.
// Source: kubelet's image_manager (EnsureImageExists); 10 s doubling to 5 min.
import type { Container } from '../api/types.ts';
import type { ImageService } from '../container/cri.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';
import { Backoff } from './backoff.ts';
import type { EventInput } from '../api/events.ts';

/** ErrImagePull, ImagePullBackOff, ErrImageNeverPull, InvalidImageName: becomes the container's waiting reason. */
export class ImageWaitError extends PodwireError {
  /** Milliseconds until it makes sense to try again. */
  readonly retryMs: number;
  constructor(code: string, message: string, retryMs: number) {
    super(code, message);
    this.retryMs = retryMs;
  }
}

export class ImagePuller {
  readonly #images: ImageService;
  readonly #backoff = new Backoff();
  constructor(images: ImageService) {
    this.#images = images;
  }

  /** Resolves when the image is present. @throws ImageWaitError */
  async ensure(podUid: string, container: Container, record: (event: EventInput) => void): Promise<void> {
    const ref = container.image ?? '';
    const name = container.name;
    const failed = (code: string, message: string, retryMs: number): never => {
      record({
        type: 'Warning',
        reason: code === 'ImagePullBackOff' ? 'BackOff' : 'Failed',
        message,
        container: name,
      });
      throw new ImageWaitError(code, message, retryMs);
    };
    let present: Awaited<ReturnType<ImageService['status']>>;
    try {
      present = await this.#images.status(ref);
    } catch (error) {
      const code = error instanceof PodwireError ? error.code : 'ImageInspectError';
      return failed(code, `Failed to inspect image "${ref}": ${messageOf(error)}`, 30_000);
    }
    const local = ref === 'localhost/host' || ref.startsWith('localhost/host:');
    if (present && (local || container.imagePullPolicy !== 'Always')) {
      const message = `Container image "${ref}" already present on machine`;
      return record({ type: 'Normal', reason: 'Pulled', message, container: name });
    }
    if (container.imagePullPolicy === 'Never') {
      const message = `Container image "${ref}" is not present with pull policy of Never`;
      return failed('ErrImageNeverPull', message, 30_000);
    }
    const key = `${podUid}/${ref}`;
    const now = Date.now();
    const left = this.#backoff.remaining(key, this.#lastTry.get(key) ?? 0, now);
    if (left > 0) return failed('ImagePullBackOff', `Back-off pulling image "${ref}"`, left);
    await this.#pull({ key, ref, name, record, failed });
  }

  forget(podUid: string): void {
    this.#backoff.forget(`${podUid}/`);
    for (const key of this.#lastTry.keys()) if (key.startsWith(`${podUid}/`)) this.#lastTry.delete(key);
  }

  readonly #lastTry = new Map<string, number>();

  async #pull(input: {
    key: string;
    ref: string;
    name: string;
    record: (event: EventInput) => void;
    failed: (code: string, message: string, retryMs: number) => never;
  }): Promise<void> {
    const { key, ref, name, record, failed } = input;
    record({ type: 'Normal', reason: 'Pulling', message: `Pulling image "${ref}"`, container: name });
    const begin = Date.now();
    try {
      const image = await this.#images.pull(ref);
      const took = ((Date.now() - begin) / 1000).toFixed(3);
      const message = `Successfully pulled image "${ref}" in ${took}s. Image size: ${image.sizeBytes} bytes.`;
      record({ type: 'Normal', reason: 'Pulled', message, container: name });
    } catch (error) {
      const now = Date.now();
      this.#backoff.next(key, this.#lastTry.get(key) ?? 0, now);
      this.#lastTry.set(key, now);
      failed('ErrImagePull', `Failed to pull image "${ref}": ${messageOf(error)}`, this.#backoff.delay(key));
    }
  }
}
