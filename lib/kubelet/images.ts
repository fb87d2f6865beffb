// Gets a container's image before it starts, by its pull policy, with back-off between failed pulls.
// Assumes ImageService folds concurrent pulls of one reference into one. O(1) a container.
// Source: kubelet's image_manager (EnsureImageExists); 10 s doubling to 5 min.
import type { Container } from '../api/types.ts';
import type { Image, ImageService, RegistryLogin } from '../container/cri.ts';
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

export interface WantedImage {
  readonly podUid: string;
  readonly container: Container;
  readonly record: (event: EventInput) => void;
  /** Asked for only when there is something to pull. */
  readonly logins: () => Promise<RegistryLogin[]>;
  /** The Pod is going: its pulls are given up. */
  readonly signal: AbortSignal;
}

/** So long ErrImagePull is shown before it becomes ImagePullBackOff, which waits the rest. */
const showMs = 1000;
/** So often an event tells how far a long pull is. */
const progressMs = 30_000;

export class ImagePuller {
  readonly #images: ImageService;
  readonly #backoff = new Backoff();
  constructor(images: ImageService) {
    this.#images = images;
  }

  /** Resolves when the image is present. @throws ImageWaitError */
  async ensure(wanted: WantedImage): Promise<void> {
    const { podUid, container, record } = wanted;
    const ref = container.image ?? '';
    const name = container.name;
    const failed = failWith(wanted);
    let present: Image | undefined;
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
    const last = this.#last.get(key);
    const left = this.#backoff.remaining(key, last?.at ?? 0, Date.now());
    if (left > 0)
      return failed(
        'ImagePullBackOff',
        `Back-off pulling image "${ref}"${last ? `: ErrImagePull: ${last.message}` : ''}`,
        left,
      );
    await this.#pull(key, ref, wanted);
  }

  forget(podUid: string): void {
    this.#backoff.forget(`${podUid}/`);
    for (const key of this.#last.keys()) if (key.startsWith(`${podUid}/`)) this.#last.delete(key);
  }

  /** The last failed try of a Pod's image. */
  readonly #last = new Map<string, { at: number; message: string }>();

  async #pull(key: string, ref: string, wanted: WantedImage): Promise<void> {
    const { container, record, signal } = wanted;
    const { name } = container;
    record({ type: 'Normal', reason: 'Pulling', message: `Pulling image "${ref}"`, container: name });
    let line = 'waiting for the registry';
    const onProgress = (text: string): void => {
      line = text;
    };
    const progress = setInterval(() => {
      const message = `Still pulling image "${ref}": ${line}`;
      record({ type: 'Normal', reason: 'Pulling', message, container: name });
    }, progressMs).unref();
    const begin = Date.now();
    try {
      const logins = await wanted.logins();
      const image = await this.#images.pull(ref, { onProgress, logins, signal });
      const took = ((Date.now() - begin) / 1000).toFixed(3);
      const message = `Successfully pulled image "${ref}" in ${took}s. Image size: ${image.sizeBytes} bytes.`;
      record({ type: 'Normal', reason: 'Pulled', message, container: name });
    } catch (error) {
      // Its Pod is going: nothing failed that anybody waits for.
      if (signal.aborted) throw new ImageWaitError('ErrImagePull', messageOf(error), 0);
      const at = Date.now();
      this.#backoff.next(key, this.#last.get(key)?.at ?? 0, at);
      this.#last.set(key, { at, message: messageOf(error) });
      const message = `Failed to pull image "${ref}": ${messageOf(error)}`;
      failWith(wanted)('ErrImagePull', message, showMs);
    } finally {
      clearInterval(progress);
    }
  }
}

/** Tells the failure and throws it. */
const failWith =
  ({ container, record }: WantedImage) =>
  (code: string, message: string, retryMs: number): never => {
    const isBackoff = code === 'ImagePullBackOff';
    const [type, reason] = isBackoff ? (['Normal', 'BackOff'] as const) : (['Warning', 'Failed'] as const);
    record({ type, reason, message, container: container.name });
    throw new ImageWaitError(code, message, retryMs);
  };
