// The environment of every child: PATH and the C locale, nothing else, so that no secret of ours is handed on.

const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** PATH of this process with the system's sbin folders added, and the C locale: error texts stay comparable. */
export function baseEnv(): Record<string, string> {
  return { PATH: process.env.PATH ? `${process.env.PATH}:${systemPath}` : systemPath, LC_ALL: 'C' };
}
