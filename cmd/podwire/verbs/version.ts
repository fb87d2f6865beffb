// `podwire version`: of the CLI and of the daemon, when that runs.
import packageJson from '../../../package.json' with { type: 'json' };
import type { Context } from '../context.ts';
import { socketErrno, UsageError } from '../errors.ts';

export interface VersionOptions {
  client?: boolean;
  output?: string;
}

export async function runVersion(context: Context, options: VersionOptions): Promise<void> {
  if (options.output !== undefined && options.output !== 'json')
    throw new UsageError(`--output must be "json", not "${options.output}"`);
  const server = options.client ? undefined : await serverVersion(context);
  if (options.output === 'json') {
    const client = { version: packageJson.version, node: process.versions.node };
    context.out(`${JSON.stringify({ client, ...(server ? { server } : {}) }, null, 2)}\n`);
    return;
  }
  context.out(`podwire ${packageJson.version} (Node ${process.versions.node})\n`);
  if (options.client) return;
  context.out(
    server
      ? `podwired: Kubernetes API ${server.gitVersion}\n`
      : `podwired is not running on ${context.socket}\n`,
  );
}

async function serverVersion(context: Context): Promise<{ gitVersion: string } | undefined> {
  const { readJson } = await import('../http.ts');
  try {
    return await readJson<{ gitVersion: string }>(context.socket, '/version');
  } catch (error) {
    if (socketErrno(error)) return undefined;
    throw error;
  }
}
