// Who a container's process is: uid, gid and further groups, from the request, the image's USER and its /etc/passwd.
// Assumes the image comes from a stranger: its files are read without ever following a link out of its root.
// Two small files an image; the lookup is pure.
import { closeSync, constants, fstatSync, lstatSync, openSync, readlinkSync, readSync } from 'node:fs';
import { join } from 'node:path';

export interface UserRequest {
  readonly runAsUser?: number;
  readonly runAsGroup?: number;
  readonly supplementalGroups: readonly number[];
  /** Strict: the image's /etc/group adds none. */
  readonly supplementalGroupsPolicy?: 'Merge' | 'Strict';
  /** USER of the image: '', name, uid, name:group, uid:gid. */
  readonly imageUser: string;
  readonly passwd: string;
  readonly group: string;
}

export interface ProcessUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const highestId = 2 ** 31 - 1;

/**
 * As containerd's CRI does it: runAsUser wins over USER; a uid takes its group from /etc/passwd, or 0; the groups that
 * list the user in /etc/group come with him; then the supplemental groups. Pure.
 * @throws RangeError naming the user or group that the image does not know
 */
export function resolveUser(request: UserRequest): ProcessUser {
  const [userPart = '', groupPart = ''] = request.imageUser.split(':', 2);
  const wanted = request.runAsUser !== undefined ? `${request.runAsUser}` : userPart;
  const entry = findUser(wanted, parsePasswd(request.passwd));
  const groups = parseGroup(request.group);
  // The image's group belongs to the image's user; another user does not inherit it.
  const imageGroup =
    request.runAsUser === undefined && groupPart !== '' ? findGroup(groupPart, groups) : undefined;
  const gid = request.runAsGroup ?? imageGroup ?? entry.gid;
  const isStrict = request.supplementalGroupsPolicy === 'Strict';
  const memberOf =
    isStrict || entry.name === '' ? [] : groups.filter(({ members }) => members.includes(entry.name));
  const additional = new Set([...memberOf.map((group) => group.gid), ...request.supplementalGroups]);
  additional.delete(gid);
  return { uid: entry.uid, gid, additionalGids: [...additional] };
}

function findUser(wanted: string, passwd: readonly PasswdEntry[]): PasswdEntry {
  if (wanted === '') return passwd.find(({ uid }) => uid === 0) ?? { name: 'root', uid: 0, gid: 0 };
  if (isId(wanted)) {
    const uid = Number(wanted);
    return passwd.find((entry) => entry.uid === uid) ?? { name: '', uid, gid: 0 };
  }
  const entry = passwd.find(({ name }) => name === wanted);
  if (!entry) throw new RangeError(`user ${JSON.stringify(wanted)} is not in the image's /etc/passwd`);
  return entry;
}

function findGroup(wanted: string, groups: readonly GroupEntry[]): number {
  if (isId(wanted)) return Number(wanted);
  const entry = groups.find(({ name }) => name === wanted);
  if (!entry) throw new RangeError(`group ${JSON.stringify(wanted)} is not in the image's /etc/group`);
  return entry.gid;
}

const isId = (text: string): boolean => /^[0-9]{1,10}$/.test(text) && Number(text) <= highestId;

function parsePasswd(text: string): PasswdEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    return name && uid && gid && isId(uid) && isId(gid) ? [{ name, uid: Number(uid), gid: Number(gid) }] : [];
  });
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

function parseGroup(text: string): GroupEntry[] {
  return text.split('\n').flatMap((line) => {
    const [name, , gid, members = ''] = line.split(':');
    return name && gid && isId(gid)
      ? [{ name, gid: Number(gid), members: members.split(',').filter(Boolean) }]
      : [];
  });
}

const mostLinks = 40;
const largestFile = 4 * 1024 * 1024;

/**
 * The text of a file inside a root, '' where there is none. Links are followed as a process inside the root would:
 * never out of it. Assumes nobody changes the root meanwhile (it is an unpacked, read-only image).
 */
export function readInRoot(root: string, path: string): string {
  const inside = resolveInRoot(root, path);
  if (inside === undefined) return '';
  let fd: number;
  try {
    // NONBLOCK: a fifo in the image must not hang us.
    fd = openSync(join(root, inside), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isAbsence(error)) return '';
    throw error;
  }
  try {
    if (!fstatSync(fd).isFile()) return '';
    const buffer = Buffer.alloc(Math.min(fstatSync(fd).size, largestFile));
    return buffer.toString('utf8', 0, readSync(fd, buffer));
  } finally {
    closeSync(fd);
  }
}

/** The path with every link resolved inside `root`; undefined when there is no such file or the links run in circles. */
export function resolveInRoot(root: string, path: string): string | undefined {
  const pending = path.split('/').reverse();
  let done: string[] = [];
  let links = 0;
  while (pending.length > 0) {
    const name = pending.pop()!;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      done.pop();
      continue;
    }
    const here = [...done, name];
    try {
      if (!lstatSync(join(root, ...here)).isSymbolicLink()) {
        done = here;
        continue;
      }
      if (++links > mostLinks) return undefined;
      const target = readlinkSync(join(root, ...here));
      if (target.startsWith('/')) done = [];
      pending.push(...target.split('/').reverse());
    } catch (error) {
      if (isAbsence(error)) return undefined;
      throw error;
    }
  }
  return join('/', ...done);
}

const isAbsence = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? '');
