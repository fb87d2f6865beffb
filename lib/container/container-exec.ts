// Runs a further program inside a running container: as its user, with its environment and its rights.
// Assumes config.json is what the container was made from. Two small files and one runtime process an exec.
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Exec } from '../exec/exec.ts';
import { type ExecSession, openSession } from '../exec/session.ts';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import type { ContainerFiles } from './container-record.ts';
import type { ExecRequest, ExecSyncRequest, ExecSyncResult } from './cri.ts';
import { execArgv, execExitCode, type OciRuntime } from './oci/runtime.ts';
import type { OciProcess, OciSpec } from './oci/types.ts';

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

/** A running container, and how to reach it. */
export interface ExecTarget {
  readonly id: string;
  readonly files: ContainerFiles;
  readonly runtime: OciRuntime;
  readonly exec: Exec;
}

export async function execInContainer(target: ExecTarget, request: ExecRequest): Promise<ExecSession> {
  const { id, files, runtime, exec } = target;
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
    const told = withShellCodes(session);
    return request.tty ? withInnerSize(told, pidFile, exec) : told;
  } catch (error) {
    tidy();
    throw error;
  }
}

/**
 * Runs a command to its end. The file that says what to run is kept for the next time, with the container: a probe runs
 * every second, and its command never changes. @throws ExecError EXEC_TIMEOUT (its process group is dead then), EXEC_ABORTED
 */
export async function execToItsEnd(target: ExecTarget, request: ExecSyncRequest): Promise<ExecSyncResult> {
  const { id, files, runtime, exec } = target;
  const { argv, timeoutMs, signal } = request;
  const name = createHash('sha256').update(JSON.stringify(argv)).digest('hex').slice(0, 16);
  const processFile = join(files.bundle, `exec-sync-${name}.json`);
  const pidFile = join(files.bundle, `exec-${randomBytes(6).toString('hex')}.pid`);
  if (!existsSync(processFile)) {
    const spec = JSON.parse(readFileSync(files.config, 'utf8')) as OciSpec;
    const text = JSON.stringify(execProcess(spec.process, { argv, tty: false, stdin: false }));
    replaceFile(processFile, text, { durable: false });
  }
  try {
    const { exitCode, stdout, stderr } = await exec({
      argv: execArgv(runtime, { id, processFile, pidFile }),
      pidFile,
      timeoutMs,
      okCodes: anyCode,
      outputBytes: longestOutput,
      ...(signal === undefined ? {} : { signal }),
    });
    return { exitCode: execExitCode(exitCode, stderr), output: stdout + stderr };
  } finally {
    rmSync(pidFile, { force: true });
  }
}

/** A container may write without end, and nobody reads more than a message. */
const longestOutput = 64 * 1024;
const anyCode = Array.from({ length: 256 }, (_, code) => code);

/** As much of the output as tells why the runtime could not run the command. */
const saidBytes = 2048;

function withShellCodes(session: ExecSession): ExecSession {
  let said = '';
  const hear = (chunk: Buffer): void => {
    if (said.length < saidBytes) said += chunk.toString('utf8', 0, saidBytes);
  };
  const heard =
    (listen: ExecSession['onStdout']): ExecSession['onStdout'] =>
    (listener) =>
      listen((chunk) => {
        hear(chunk);
        listener(chunk);
      });
  return {
    ...session,
    onStdout: heard(session.onStdout),
    onStderr: heard(session.onStderr),
    exit: session.exit.then((code) => execExitCode(code, said)),
  };
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
