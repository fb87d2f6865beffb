// `podwire kubeconfig`: a file for kubectl with a certificate of an administrator of its own.
// Assumes podwired is a server here. Who has the file may do everything until the certificate ends.
import { UsageError } from '../errors.ts';
import { isServer } from '../../../lib/pki/server-address.ts';
import type { Context } from '../context.ts';
import { parseDuration } from '../duration.ts';
import { readJson } from '../http.ts';

export interface KubeconfigFlags {
  server?: string;
  ttl?: string;
}

interface Admin {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly servers: readonly string[];
}

export async function runKubeconfig(context: Context, flags: KubeconfigFlags): Promise<void> {
  if (flags.server !== undefined && !isServer(flags.server))
    throw new UsageError(`--server "${flags.server}": expected HOST:PORT`);
  const lifeSeconds = flags.ttl === undefined ? undefined : parseDuration(flags.ttl, '--ttl') / 1000;
  const admin = await readJson<Admin>(context.socket, '/podwire/v1/kubeconfig', {
    method: 'POST',
    body: { lifeSeconds },
  });
  context.out(kubeconfig(admin, flags.server ?? admin.servers[0]!));
}

/** YAML as kubectl writes it. Pure. */
export function kubeconfig({ ca, cert, key }: Admin, server: string): string {
  const data = (text: string): string => Buffer.from(text).toString('base64');
  return `apiVersion: v1
kind: Config
clusters:
- name: podwire
  cluster:
    server: https://${server}
    certificate-authority-data: ${data(ca)}
users:
- name: podwire-admin
  user:
    client-certificate-data: ${data(cert)}
    client-key-data: ${data(key)}
contexts:
- name: podwire
  context:
    cluster: podwire
    user: podwire-admin
current-context: podwire
`;
}
