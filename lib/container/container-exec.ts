// Runs a further program inside a running container: as its user, with its environment and its rights.
// Assumes config.json is what the container was made from. Two small files and one runtime process an exec.
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ExecSession, openSession } from '../exec/session.ts';
import type { ContainerFiles } from './container-record.ts';
import type { ExecRequest } from './cri.ts';
import { execArgv, type OciRuntime } from './oci-runtime.ts';
import type { OciProcess, OciSpec } from './oci-types.ts';

/** The process of an exec: the container's own with another command. Pure. */
export function execProcess(container: OciProcess, request: ExecRequest): OciProcess {
  const env = container.env.filter((line) => !request.tty || !line.startsWith('TERM='));
  return {
    ...container,
    args: request.argv,
    terminal: request.tty,
    env: request.tty ? [...env, 'TERM=xterm'] : env,
  };
}

export async function execInContainer(
  what: { id: string; files: ContainerFiles; runtime: OciRuntime },
  request: ExecRequest,
): Promise<ExecSession> {
  const { id, files, runtime } = what;
  const base = join(files.bundle, `exec-${randomBytes(6).toString('hex')}`);
  const processFile = `${base}.json`;
  const pidFile = `${base}.pid`;
  const tidy = (): void => {
    for (const file of [processFile, pidFile]) rmSync(file, { force: true });
  };
  const spec = JSON.parse(readFileSync(files.config, 'utf8')) as OciSpec;
  writeFileSync(processFile, JSON.stringify(execProcess(spec.process, request)), { mode: 0o600 });
  try {
    const argv = execArgv(runtime, { id, processFile, pidFile });
    const session = await openSession({ argv, tty: request.tty, stdin: request.stdin, pidFile });
    session.exit.then(tidy, tidy);
    return session;
  } catch (error) {
    tidy();
    throw error;
  }
}
