// Copies one image into an OCI layout by skopeo, passing its progress on line by line.
// Assumes skopeo's `copy`; a copy has half an hour. One process a copy.
import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { messageOf } from '../../exec/errors.ts';
import { openSession } from '../../exec/session.ts';
import type { RegistryLogin } from '../cri.ts';
import { ImageError } from '../errors.ts';

export interface SkopeoCopy {
  /** `docker://…`, or an image in an archive; `link` is where a link to it may be put. */
  readonly source: string | { kind: string; path: string; selector: string; link: string };
  /** Folder of the layout; the image is called `image` there. */
  readonly target: string;
  readonly insecure: boolean;
  readonly onProgress: (line: string) => void;
  readonly signal?: AbortSignal;
  /** `file` is written for the copy, for root alone, and removed after it: an argument could be read by everybody. */
  readonly auth?:
    | { readonly registry: string; readonly login: RegistryLogin; readonly file: string }
    | undefined;
}

const limitMs = 30 * 60_000;

/** @throws ImageError ErrImagePull with what skopeo said last */
export async function runSkopeo(copy: SkopeoCopy, what: string): Promise<void> {
  const source = typeof copy.source === 'string' ? copy.source : archiveSource(copy.source);
  const { auth, signal, target, insecure } = copy;
  const argv = skopeoArgv({ source, target, insecure, ...(auth ? { authFile: auth.file } : {}) });
  const said: string[] = [];
  let code: number;
  try {
    if (auth) writeAuthFile(auth);
    const session = await openSession({ argv, tty: false, stdin: false });
    const kill = (): void => session.kill();
    const timer = setTimeout(kill, limitMs);
    if (signal?.aborted) kill();
    signal?.addEventListener('abort', kill);
    session.onStdout(splitLines(copy.onProgress));
    session.onStderr(splitLines((line) => said.push(line)));
    code = await session.exit;
    clearTimeout(timer);
    signal?.removeEventListener('abort', kill);
  } catch (error) {
    throw new ImageError('ErrImagePull', what, `image ${what}: ${messageOf(error)}`, { cause: error });
  } finally {
    if (auth) rmSync(auth.file, { force: true });
  }
  if (code !== 0)
    throw new ImageError(
      'ErrImagePull',
      what,
      `image ${what}: ${readableError(said) || `skopeo: exit code ${code}`}`,
    );
}

/** Source: containers-auth.json(5). */
function writeAuthFile({ registry, login, file }: NonNullable<SkopeoCopy['auth']>): void {
  const auth = Buffer.from(`${login.username}:${login.password}`).toString('base64');
  writeFileSync(file, JSON.stringify({ auths: { [registry]: { auth } } }), { mode: 0o600, flag: 'wx' });
}

/** Pure. */
export function skopeoArgv(copy: {
  source: string;
  target: string;
  insecure: boolean;
  authFile?: string;
}): [string, ...string[]] {
  const flags = [
    ...(copy.insecure ? ['--src-tls-verify=false'] : []),
    ...(copy.authFile === undefined ? [] : ['--src-authfile', copy.authFile]),
  ];
  // Without a policy file skopeo refuses everything; what may be run here is the business of who writes Pods.
  // Not with --dest-oci-accept-uncompressed-layers: skopeo 1.9 calls a docker-archive's plain layers gzip all the same,
  // and umoci then refuses them.
  return ['skopeo', '--insecure-policy', 'copy', ...flags, copy.source, `oci:${copy.target}:image`];
}

/** A link stands for the archive, for skopeo takes a colon in a path for syntax. */
function archiveSource(source: { kind: string; path: string; selector: string; link: string }): string {
  symlinkSync(source.path, source.link);
  return `${source.kind}:${source.link}${source.selector === '' ? '' : `:${source.selector}`}`;
}

/** The message inside skopeo's log line `time="…" level=fatal msg="…"`, innermost cause included. Pure. */
export function readableError(lines: readonly string[]): string {
  const last = lines.filter((line) => line.includes('level=fatal')).at(-1) ?? lines.at(-1) ?? '';
  const quoted = last.match(/msg=("(?:[^"\\]|\\.)*")/)?.[1];
  if (quoted === undefined) return last.trim();
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted;
  }
}

function splitLines(onLine: (line: string) => void): (chunk: Buffer) => void {
  let rest = '';
  return (chunk) => {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop()!;
    for (const line of lines) if (line !== '') onLine(line);
  };
}
