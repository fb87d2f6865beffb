// Who a Pod is to a registry: its imagePullSecrets, and which of their entries are for an image.
// Assumes Secrets of type kubernetes.io/dockerconfigjson or dockercfg; others count for nothing. What they hold is never
// logged. Source: Kubernetes' credentialprovider (keyring.go): hosts match part by part with * and ?, ports exactly, paths
// by their beginning; the longest key first, then the order of the Secrets.
import type { Pod, Secret } from '../api/types.ts';
import type { RegistryLogin } from '../container/cri.ts';
import { parseReference } from '../container/image/reference.ts';
import type { EventInput } from '../api/events.ts';
import type { DataSource } from './references.ts';

interface Entry {
  readonly key: string;
  readonly login: RegistryLogin;
}

/** The logins to try for an image, best first. A Secret that cannot be had is told as an event, and gone without. */
export async function pullLogins(input: {
  readonly pod: Pod;
  readonly image: string;
  readonly references: DataSource;
  readonly record: (event: EventInput) => void;
}): Promise<RegistryLogin[]> {
  const { pod, image, references, record } = input;
  const names = (pod.spec.imagePullSecrets ?? []).flatMap(({ name }) => name ?? []);
  const missing: string[] = [];
  const secrets: Secret[] = [];
  for (const name of names) {
    const secret = await references.secret(pod.metadata.namespace ?? '', name).catch(() => undefined);
    if (secret) secrets.push(secret);
    else missing.push(name);
  }
  if (missing.length > 0)
    record({
      type: 'Warning',
      reason: 'FailedToRetrieveImagePullSecret',
      message: `Unable to retrieve some image pull secrets (${missing.join(', ')}); attempting to pull the image may not succeed.`,
    });
  return loginsFor(image, secrets);
}

/** Pure. */
export function loginsFor(image: string, secrets: readonly Secret[]): RegistryLogin[] {
  const { registry, repository } = parseReference(image);
  const found = secrets.flatMap(entriesOf).filter(({ key }) => matches(key, registry, `/${repository}`));
  return found.sort((one, other) => other.key.length - one.key.length).map(({ login }) => login);
}

function entriesOf({ type, data = {} }: Secret): Entry[] {
  const parsed = (key: string): Record<string, unknown> => {
    try {
      const value: unknown = JSON.parse(Buffer.from(data[key] ?? '', 'base64').toString());
      return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
    } catch {
      return {};
    }
  };
  const auths =
    type === 'kubernetes.io/dockerconfigjson'
      ? parsed('.dockerconfigjson').auths
      : type === 'kubernetes.io/dockercfg'
        ? parsed('.dockercfg')
        : {};
  return Object.entries((auths ?? {}) as Record<string, unknown>).flatMap(([key, value]) => {
    const login = loginOf(value);
    return login ? [{ key: normalKey(key), login }] : [];
  });
}

function loginOf(value: unknown): RegistryLogin | undefined {
  const { auth, username, password } = (value ?? {}) as Record<string, unknown>;
  if (typeof auth === 'string' && auth !== '') {
    const pair = Buffer.from(auth, 'base64').toString();
    const colon = pair.indexOf(':');
    if (colon > 0) return { username: pair.slice(0, colon), password: pair.slice(colon + 1) };
  }
  return typeof username === 'string' && typeof password === 'string' && username !== ''
    ? { username, password }
    : undefined;
}

/** `https://index.docker.io/v1/` → `docker.io`; a path other than the API's version stays. */
function normalKey(key: string): string {
  const [, host = '', path = ''] = /^(?:https?:\/\/)?([^/]*)(.*)$/.exec(key) ?? [];
  const rest = path.replace(/^\/v[12](?=\/|$)/, '').replace(/\/+$/, '');
  return `${host === 'index.docker.io' ? 'docker.io' : host}${rest}`;
}

/** Pure. */
export function matches(key: string, registry: string, path: string): boolean {
  const slash = key.indexOf('/');
  const [pattern, below] = slash < 0 ? [key, ''] : [key.slice(0, slash), key.slice(slash)];
  if (!path.startsWith(below)) return false;
  const [patternHost, patternPort] = splitPort(pattern);
  const [host, port] = splitPort(registry);
  const wanted = patternHost.split('.');
  const parts = host.split('.');
  if (patternPort !== port || wanted.length !== parts.length) return false;
  return wanted.every((glob, at) => globRegExp(glob).test(parts[at]!));
}

function splitPort(host: string): [string, string] {
  const [, name = host, port = ''] = /^(.*?)(?::([0-9]+))?$/.exec(host) ?? [];
  return [name, port];
}

const globRegExp = (glob: string): RegExp =>
  new RegExp(
    `^${glob
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replace(/\*/g, '.*')
      .replace(/\?/g, '.')}$`,
  );
