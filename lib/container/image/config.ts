// The part of an image's config that a container takes over, read with care: images come from strangers. Pure.
// Assumes OCI image-spec v1 field names (Docker's are the same). One small JSON an image.

export interface ImageConfig {
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  /** NAME=value */
  readonly Env: readonly string[];
  readonly WorkingDir: string;
  /** user, uid, user:group or uid:gid; '' is root. */
  readonly User: string;
  /** SIGTERM unless told. */
  readonly StopSignal: string;
}

export const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** @throws TypeError naming the field that has another type than the specification says */
export function parseImageConfig(raw: unknown): ImageConfig {
  const { config } = (raw ?? {}) as { config?: Record<string, unknown> };
  const texts = (field: string): string[] => {
    const value = config?.[field] ?? [];
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string'))
      throw new TypeError(`config.${field} of the image is no list of texts`);
    return value;
  };
  const text = (field: string): string => {
    const value = config?.[field] ?? '';
    if (typeof value !== 'string') throw new TypeError(`config.${field} of the image is no text`);
    return value;
  };
  return {
    Entrypoint: texts('Entrypoint'),
    Cmd: texts('Cmd'),
    Env: texts('Env'),
    WorkingDir: text('WorkingDir'),
    User: text('User'),
    StopSignal: text('StopSignal'),
  };
}

/** What localhost/host has: nothing but a PATH. */
export const hostImageConfig: ImageConfig = parseImageConfig({ config: { Env: [defaultPath] } });
