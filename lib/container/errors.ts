// What goes wrong with images and containers, in the reasons that Kubernetes shows to people.
// Assumes nothing. `code` is stable and becomes the reason of a waiting or terminated container.
import { PodwireError } from '../exec/errors.ts';

export type ImageErrorCode =
  | 'InvalidImageName'
  | 'ErrImagePull'
  | 'ErrImageNeverPull'
  | 'ImageInUse'
  | 'ImageNotFound'
  | 'InvalidArchive';

/** An image that cannot be named, fetched, unpacked, found or removed. */
export class ImageError extends PodwireError {
  declare readonly code: ImageErrorCode;
  readonly image: string;
  constructor(code: ImageErrorCode, image: string, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
    this.image = image;
  }
}

export type ContainerErrorCode =
  /** What was asked for cannot be: a user that the image does not know, root where it is refused. */
  | 'CreateContainerConfigError'
  /** Making it failed; nothing is left. */
  | 'CreateContainerError'
  /** It was made and could not be started; its status says so too. */
  | 'RunContainerError'
  | 'ContainerNotFound'
  /** It does not run, and so cannot do what was asked. */
  | 'ContainerNotRunning'
  /** SIGKILL did not end it. */
  | 'KillContainerError';

/** A container that cannot be made, started, stopped or used. */
export class ContainerError extends PodwireError {
  declare readonly code: ContainerErrorCode;
  readonly container: string;
  constructor(code: ContainerErrorCode, container: string, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
    this.container = container;
  }
}
