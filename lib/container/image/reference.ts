// Image references as people write them, and the full form that everything else uses. Pure.
// Assumes the grammar of the distribution project: a registry is a first part with a dot, a colon or a capital,
// or localhost; what has none is on docker.io, and under library/ when it is a single name. No path can leave one.
import { ImageError } from '../errors.ts';

export interface Reference {
  /** docker.io, localhost, registry.example:5000 */
  readonly registry: string;
  /** library/nginx */
  readonly repository: string;
  readonly tag: string | undefined;
  /** sha256:… */
  readonly digest: string | undefined;
  /** registry/repository:tag, or registry/repository@digest (a digest says it all: a tag beside it is dropped). */
  readonly normalized: string;
}

const component = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const hostPart =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]{1,5})?$/;
const hostV6 = /^\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const digestPattern = /^sha256:[0-9a-f]{64}$|^sha512:[0-9a-f]{128}$/;

/**
 * Understands `nginx`, `nginx:1.27`, `me/app`, `quay.io/me/app:1`, `localhost:5000/x`, `nginx@sha256:…`.
 * @throws ImageError InvalidImageName, with the value and what was expected
 */
export function parseReference(text: string): Reference {
  const refuse = (why: string): never => {
    throw new ImageError('InvalidImageName', text, `image ${JSON.stringify(text)}: ${why}`);
  };
  if (text === '') refuse('empty; expected e.g. nginx:1.27 or registry.example/team/app@sha256:…');
  if (text.length > 512) refuse('longer than 512 characters');
  const [beforeDigest, digest, ...more] = text.split('@') as [string, string?, ...string[]];
  if (more.length > 0) refuse('more than one @');
  if (digest !== undefined && !digestPattern.test(digest))
    refuse(`${JSON.stringify(digest)} is no digest; expected sha256: and 64 hexadecimal digits`);
  const colon = beforeDigest.lastIndexOf(':');
  const hasTag = colon > beforeDigest.lastIndexOf('/');
  const name = hasTag ? beforeDigest.slice(0, colon) : beforeDigest;
  const tag = hasTag ? beforeDigest.slice(colon + 1) : digest ? undefined : 'latest';
  if (tag !== undefined && !tagPattern.test(tag))
    refuse(`${JSON.stringify(tag)} is no tag; expected up to 128 letters, digits, "_", "." or "-"`);

  const { registry, repository } = splitName(name);
  if (!hostPart.test(registry) && !hostV6.test(registry))
    refuse(`${JSON.stringify(registry)} is no registry host`);
  const wrong = repository.split('/').find((part) => !component.test(part));
  if (wrong !== undefined)
    refuse(
      `${JSON.stringify(wrong)} is no part of a repository's name; expected lower-case letters and digits, ` +
        'joined by ".", "_" or "-"',
    );
  if (repository.length > 255) refuse('the repository is longer than 255 characters');
  const normalized = `${registry}/${repository}${digest ? `@${digest}` : `:${tag}`}`;
  return { registry, repository, tag, digest, normalized };
}

function splitName(name: string): { registry: string; repository: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isRegistry = /[.:A-Z]/.test(first) || first === 'localhost';
  // "../x" is no registry but a path: its first part must fail as a component, not pass as a host.
  if (!isRegistry || /^\.+$/.test(first))
    return { registry: 'docker.io', repository: slash < 0 ? `library/${name}` : name };
  const registry = first === 'index.docker.io' ? 'docker.io' : first;
  const rest = name.slice(slash + 1);
  return { registry, repository: registry === 'docker.io' && !rest.includes('/') ? `library/${rest}` : rest };
}

/** A registry of this machine: spoken to without TLS verification, as docker and podman do. */
export function isLocalRegistry(registry: string): boolean {
  const host = registry.startsWith('[') ? registry.slice(1, registry.indexOf(']')) : registry.split(':')[0]!;
  return host === 'localhost' || host === '::1' || /^127(?:\.[0-9]{1,3}){3}$/.test(host);
}

/** The image that is built in: the machine's own root. */
export const hostImage = 'localhost/host:latest';
