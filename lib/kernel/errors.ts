// Failures of the kernel's objects: what `ip`, `nft`, `mount` said, mapped once to an errno.
// Assumes LC_ALL=C texts of iproute2, nftables and util-linux. Callers ask the predicates, never the text.
import { ExecError, PodwireError } from '../exec/errors.ts';

export type Errno =
  | 'EEXIST'
  | 'ENOENT'
  | 'ENODEV'
  | 'ESRCH'
  | 'EPERM'
  | 'EBUSY'
  | 'EINVAL'
  | 'EOPNOTSUPP'
  | 'EADDRNOTAVAIL'
  | 'ENOSPC'
  | 'EUNKNOWN';

/** A change of the kernel that failed; `code` is the errno's name, `what` the object it was about. */
export class KernelError extends PodwireError {
  declare readonly code: Errno;
  readonly what: string;
  constructor(errno: Errno, what: string, message: string, options?: { cause?: unknown }) {
    super(errno, message, options);
    this.what = what;
  }
}

const texts: ReadonlyArray<readonly [RegExp, Errno]> = [
  [/File exists|already exists|already assigned/i, 'EEXIST'],
  [/Cannot find device|No such device|does not exist/i, 'ENODEV'],
  [/No such file or directory|Invalid "netns" value|no mount point specified|not mounted/i, 'ENOENT'],
  [/No such process/i, 'ESRCH'],
  [/Operation not permitted|Permission denied/i, 'EPERM'],
  [/Device or resource busy|target is busy/i, 'EBUSY'],
  [/Operation not supported|Not supported|Unknown device type|qdisc kind is unknown/i, 'EOPNOTSUPP'],
  [/Cannot assign requested address|Address not found/i, 'EADDRNOTAVAIL'],
  [/No space left on device/i, 'ENOSPC'],
  [/Invalid argument|Invalid prefix|mtu (?:less|greater) than/i, 'EINVAL'],
];

/** The one place where a tool's text becomes an errno. */
export function toKernelError(error: unknown, what: string): unknown {
  if (!(error instanceof ExecError) || error.code !== 'EXEC_FAILED') return error;
  const said = error.stderr.trim() || error.stdout.trim();
  const errno = texts.find(([pattern]) => pattern.test(said))?.[1] ?? 'EUNKNOWN';
  return new KernelError(errno, what, `${what}: ${said || error.message}`, { cause: error });
}

const has = (error: unknown, ...codes: Errno[]): boolean =>
  error instanceof KernelError && codes.includes(error.code);

export const isExists = (error: unknown): boolean => has(error, 'EEXIST');
/** The device or the namespace or the mount is not there. */
export const isAbsent = (error: unknown): boolean => has(error, 'ENODEV', 'ENOENT', 'ESRCH');
export const isNotSupported = (error: unknown): boolean => has(error, 'EOPNOTSUPP');
