// The two OCI runtimes, crun and runc: their arguments, and what their error texts mean to a person. Pure.
// Assumes version 1 of the OCI command line. Swapping one for the other changes nothing but the program's path.
import { basename } from 'node:path';

export interface OciRuntime {
  /** Absolute path of the program. */
  readonly program: string;
  /** Options before the verb. */
  readonly options: readonly string[];
}

/** `stateDir` is where the runtime keeps its own state, one folder a container. */
export function ociRuntime(program: string, stateDir: string): OciRuntime {
  const manager = basename(program) === 'crun' ? ['--cgroup-manager=cgroupfs'] : [];
  return { program, options: ['--root', stateDir, ...manager] };
}

export function startArgv(runtime: OciRuntime, id: string): [string, ...string[]] {
  return [runtime.program, ...runtime.options, 'start', id];
}

export function stateArgv(runtime: OciRuntime, id: string): [string, ...string[]] {
  return [runtime.program, ...runtime.options, 'state', id];
}

export function execArgv(
  runtime: OciRuntime,
  exec: { id: string; processFile: string; pidFile: string },
): [string, ...string[]] {
  const { id, processFile, pidFile } = exec;
  return [runtime.program, ...runtime.options, 'exec', '--process', processFile, '--pid-file', pidFile, id];
}

const notFound =
  /(?:executable file [`'"]?([^`'"]+)[`'"]? not found|exec: \\?"([^"\\]+)\\?": executable file not found)/;
const notThere = /(?:stat|exec(?:ve)?|exec:|lstat) [`'"\\]*([^`'"\\:]+)[`'"\\]*: no such file or directory/i;

/**
 * The words of the runtime without log decoration; a command that is not there in the words that Kubernetes' users
 * know from runc: `exec: "nosuch": executable file not found in $PATH`.
 */
export function readableRuntimeError(said: string, command: string): string {
  const text = withoutDecoration(said);
  const missing = text.match(notFound);
  if (missing) return `exec: ${JSON.stringify(missing[1] ?? missing[2])}: executable file not found in $PATH`;
  if (/open executable: Permission denied/.test(text) || text.includes(`${command}": permission denied`))
    return `exec: ${JSON.stringify(command)}: permission denied`;
  if (command.startsWith('/') && notThere.test(text) && text.includes(command))
    return `exec: ${JSON.stringify(command)}: no such file or directory`;
  return text || 'the OCI runtime failed and said nothing';
}

/** Takes away time stamps, log levels, conmon's prefixes and escapes. */
function withoutDecoration(said: string): string {
  const lines = said
    .split('\n')
    .map((line) => line.match(/(?:^|\s)msg="((?:[^"\\]|\\.)*)"/)?.[1]?.replace(/\\(.)/g, '$1') ?? line)
    .map((line) => line.replace(/^\S*[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z?:?\s*/, '').trim())
    .filter((line) => line !== '' && !/^(?:level=warning|\[conmon:[di]\])/.test(line));
  return lines.join('; ');
}

/** What crun and runc end with when they could not execute the command. */
const runtimeFailed = 255;

/**
 * The exit code of an exec as a shell has it: 127 for a command that is not there, 126 for one that cannot be run.
 * `said`: the beginning of all output, which is the runtime's own where it failed. Pure.
 */
export function execExitCode(code: number, said: string): number {
  if (code !== runtimeFailed) return code;
  if (
    /executable file .* not found in \$PATH|exec failed: .*: stat \S+: no such file or directory/.test(said)
  )
    return 127;
  return /open executable: |exec failed: unable to start container process: exec: /.test(said) ? 126 : code;
}
