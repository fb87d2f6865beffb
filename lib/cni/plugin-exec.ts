// Runs one plugin by the protocol: environment and standard input in, a result or a CniError out.
// Assumes plugins are executables in the given folders. One process a call (two with our own plugins' `ip`).
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { ExecError } from '../exec/errors.ts';
import type { Exec } from '../exec/exec.ts';
import { CniError, cniError } from './errors.ts';
import { isObject } from './json.ts';
import type { CniCommand, JsonObject } from './types.ts';

export interface PluginCall {
  readonly command: CniCommand;
  readonly type: string;
  readonly pluginDirs: readonly string[];
  /** CNI_* beside CNI_COMMAND and CNI_PATH. */
  readonly env: Readonly<Record<string, string>>;
  readonly input: JsonObject;
  readonly exec: Exec;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Gets what a plugin that succeeded wrote to its standard error; a failure's is in the error. */
  readonly onStderr?: ((text: string) => void) | undefined;
}

// A type becomes a file name in a plugin folder: it must not lead elsewhere.
const typePattern = /^[A-Za-z0-9][\w.-]{0,127}$/;
export const isPluginType = (type: string): boolean => typePattern.test(type);

/** The first executable of that name. @throws CniError 7 that names the type and the folders */
export function findPlugin(type: string, pluginDirs: readonly string[]): string {
  if (!isPluginType(type))
    throw cniError('CNI_INVALID_CONFIG', `plugin ${JSON.stringify(type.slice(0, 200))}: not a plugin's name`);
  for (const dir of pluginDirs) {
    const file = join(dir, type);
    if (isProgram(file)) return file;
  }
  throw cniError(
    'CNI_INVALID_CONFIG',
    `plugin ${JSON.stringify(type)}: no such executable in ${pluginDirs.join(':') || 'CNI_PATH, which is empty'}`,
  );
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** The JSON that the plugin printed; undefined where it printed nothing. @throws CniError */
export async function callPlugin(call: PluginCall): Promise<unknown> {
  const { command, type, pluginDirs, input, exec, timeoutMs, signal } = call;
  const file = findPlugin(type, pluginDirs);
  const env = { ...call.env, CNI_COMMAND: command, CNI_PATH: pluginDirs.join(':') };
  try {
    const { stdout, stderr } = await exec({
      argv: [file],
      input: JSON.stringify(input),
      env,
      timeoutMs,
      ...(signal ? { signal } : {}),
    });
    if (stderr !== '') call.onStderr?.(stderr);
    return stdout.trim() === '' ? undefined : decode(stdout, `${type} ${command}`);
  } catch (error) {
    throw pluginError(error, `${type} ${command}`);
  }
}

function decode(text: string, who: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw cniError('CNI_DECODING_FAILURE', `${who}: printed no JSON: ${text.slice(0, 200)}`, { cause });
  }
}

/** A plugin says what went wrong on standard output; anything else is told from its standard error and exit code. */
function pluginError(error: unknown, who: string): unknown {
  if (!(error instanceof ExecError)) return error;
  if (error.code === 'EXEC_TIMEOUT')
    return cniError('CNI_TRY_AGAIN', `${who}: ${error.message}`, { cause: error });
  if (error.code !== 'EXEC_FAILED')
    return cniError('CNI_INTERNAL', `${who}: ${error.message}`, { cause: error });
  const said = parseError(error.stdout);
  if (said) return new CniError(said.code, `${who}: ${said.msg}`, { details: said.details, cause: error });
  const how = error.signal ? `ended by ${error.signal}` : `exit code ${error.exitCode}`;
  const details = (error.stderr.trim() || error.stdout.trim()).slice(0, 2000);
  return cniError('CNI_INTERNAL', `${who}: ${how} without an error object`, { details, cause: error });
}

function parseError(text: string): { code: number; msg: string; details: string } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value) || typeof value.code !== 'number') return undefined;
    return { code: value.code, msg: String(value.msg ?? ''), details: String(value.details ?? '') };
  } catch {
    return undefined;
  }
}
