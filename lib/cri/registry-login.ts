// Who podwire is to a registry: what `podman login` or `docker login` have kept for root, as skopeo looks it up for our own
// images. Assumes the files' form (`auths`: base64 of user:password by registry); credential helpers are not asked.
// A few small files a pull. What is read is never logged.
import { join } from 'node:path';
import { PodwireError } from '../exec/errors.ts';
import { readIfThere } from '../kernel/files.ts';

export interface Login {
  readonly username: string;
  readonly password: string;
  readonly serverAddress: string;
}

/** In the order in which they win. Source: containers-auth.json(5). */
function files(env: NodeJS.ProcessEnv): string[] {
  const home = env.HOME ?? '/root';
  return [
    ...(env.REGISTRY_AUTH_FILE ? [env.REGISTRY_AUTH_FILE] : []),
    ...(env.XDG_RUNTIME_DIR ? [join(env.XDG_RUNTIME_DIR, 'containers/auth.json')] : []),
    `/run/containers/${process.getuid?.() ?? 0}/auth.json`,
    join(env.XDG_CONFIG_HOME ?? join(home, '.config'), 'containers/auth.json'),
    join(home, '.docker/config.json'),
  ];
}

/** Undefined: nobody logged in there. @throws PodwireError REGISTRY_LOGIN for a file that cannot be read */
export function registryLogin(registry: string, env: NodeJS.ProcessEnv = process.env): Login | undefined {
  for (const file of files(env)) {
    const text = readIfThere(file);
    const login = text === undefined ? undefined : loginIn(text, registry, file);
    if (login) return login;
  }
  return undefined;
}

/** Docker Hub is kept by its old address. */
const keysOf = (registry: string): string[] =>
  registry === 'docker.io' ? ['docker.io', 'https://index.docker.io/v1/'] : [registry, `https://${registry}`];

function loginIn(text: string, registry: string, file: string): Login | undefined {
  let auths: Record<string, { auth?: string }>;
  try {
    auths = (JSON.parse(text) as { auths?: typeof auths }).auths ?? {};
  } catch {
    throw new PodwireError('REGISTRY_LOGIN', `${file}: this is no JSON; log in to the registry again`);
  }
  const auth = keysOf(registry)
    .map((key) => auths[key]?.auth)
    .find(Boolean);
  if (!auth) return undefined;
  const pair = Buffer.from(auth, 'base64').toString();
  const colon = pair.indexOf(':');
  if (colon < 0) return undefined;
  return { username: pair.slice(0, colon), password: pair.slice(colon + 1), serverAddress: registry };
}
