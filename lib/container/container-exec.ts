// Runs a further program inside a running container: as its user, with its environment and its rights.
// Assumes config.json is what the container was made from. Two small files and one runtime process an exec.
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Exec } from '../exec/exec.ts';
import { type ExecSession, openSession } from '../exec/session.ts';
import { readIfThere } from '../kernel/files.ts';
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
  what: { id: string; files: ContainerFiles; runtime: OciRuntime; exec: Exec },
  request: ExecRequest,
): Promise<ExecSession> {
  const { id, files, runtime, exec } = what;
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
    return request.tty ? withInnerSize(session, pidFile, exec) : session;
  } catch (error) {
    tidy();
    throw error;
  }
}

/** crun before 1.9 hands no later size on to the terminal inside: it is set there too, by stty on the process' own. */
function withInnerSize(session: ExecSession, pidFile: string, exec: Exec): ExecSession {
  let ended = false;
  let latest = 0;
  session.exit.finally(() => {
    ended = true;
  });
  const resizeInside = async (columns: number, rows: number, mine: number): Promise<void> => {
    // The first size often comes before the process is there.
    for (let tries = 0; tries < 200 && !ended && mine === latest; tries++) {
      const pid = readIfThere(pidFile)?.trim();
      if (pid) {
        await exec({ argv: ['stty', '-F', `/proc/${pid}/fd/0`, 'rows', `${rows}`, 'cols', `${columns}`] });
        return;
      }
      await sleep(5);
    }
  };
  return {
    ...session,
    resize(columns, rows) {
      session.resize(columns, rows);
      if (columns <= 0 || rows <= 0) return;
      // A size that cannot be set (the process has just ended) is no harm.
      resizeInside(Math.floor(columns), Math.floor(rows), ++latest).catch(() => {});
    },
  };
}
