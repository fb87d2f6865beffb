// Leases on disk: a file an address in <dataDir>/<network>/, in the form of the reference host-local, and beside
// them, in .podwire/, one record an attachment: container, interface, addresses, boot id, time.
// Why records and not more lines in the lease: the reference compares a lease's whole text with "<id>\r\n<ifname>".
// Invariants: a lease appears whole and only where there was none (link(2)), which needs no lock and holds against the
// reference too; a record is written before its leases and removed after them, so a crash at any instant leaves
// nothing that DEL, which reads the record, does not find. The lock is for the sweep after a boot and for GC alone.
// A look-up by attachment is one file read; only leases without a record (the reference's) need a scan.
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { formatIp, type Ip, parseIp } from '../../lib/cni/address.ts';
import { cniError } from '../../lib/cni/errors.ts';
import { isObject } from '../../lib/cni/json.ts';
import type { AttachmentKey } from '../../lib/cni/types.ts';
import { sha256 } from '../../lib/kernel/hash.ts';

export interface LeaseRecord extends AttachmentKey {
  readonly ips: readonly string[];
  readonly bootId: string;
  /** RFC 3339. */
  readonly time: string;
}

export interface Store {
  isTaken(ip: Ip): boolean;
  /** What is taken now, read at once; the function asks the disk no more. */
  allTaken(): (ip: Ip) => boolean;
  lastReserved(set: number): Ip | undefined;
  find(owner: AttachmentKey): LeaseRecord | undefined;
  /** True when that very address is leased to `owner`. */
  holds(owner: AttachmentKey, ip: Ip): boolean;
  /** Takes the addresses, one a range set: all, or none and false when another took one of them meanwhile. */
  reserve(owner: AttachmentKey, ips: readonly Ip[]): boolean;
  /** Repeatable. Gives the addresses that were released. */
  release(owner: AttachmentKey): string[];
  /** Everyone who holds a lease, the reference's leases included. */
  owners(): AttachmentKey[];
  /** Addresses that are taken. */
  taken(): Ip[];
}

const leaseText = ({ containerId, ifname }: AttachmentKey): string => `${containerId}\r\n${ifname}`;

/** The store in a folder that exists. */
export class DiskStore implements Store {
  readonly #dir: string;
  readonly #records: string;
  readonly #bootId: string;
  constructor(dir: string, bootId = currentBootId()) {
    this.#dir = dir;
    this.#records = join(dir, '.podwire');
    this.#bootId = bootId;
  }

  isTaken(ip: Ip): boolean {
    return existsSync(join(this.#dir, formatIp(ip)));
  }

  allTaken(): (ip: Ip) => boolean {
    const names = new Set(readdirSync(this.#dir));
    return (ip) => names.has(formatIp(ip));
  }

  lastReserved(set: number): Ip | undefined {
    return parseIp(read(join(this.#dir, `last_reserved_ip.${set}`))?.trim() ?? '');
  }

  find(owner: AttachmentKey): LeaseRecord | undefined {
    return parseRecord(read(this.#recordFile(owner)));
  }

  holds(owner: AttachmentKey, ip: Ip): boolean {
    return this.#isOwned(formatIp(ip), owner);
  }

  reserve(owner: AttachmentKey, ips: readonly Ip[]): boolean {
    const { containerId, ifname } = owner;
    const texts = ips.map(formatIp);
    const record: LeaseRecord = {
      containerId,
      ifname,
      ips: texts,
      bootId: this.#bootId,
      time: new Date().toISOString(),
    };
    const file = this.#recordFile(owner);
    writeWhole(file, JSON.stringify(record));
    const lease = `${file}.lease`;
    writeFileSync(lease, leaseText(owner), { mode: 0o600 });
    try {
      if (!texts.every((text) => linkNew(lease, join(this.#dir, text)))) {
        this.release(owner);
        return false;
      }
    } finally {
      rmSync(lease, { force: true });
    }
    for (const [set, text] of texts.entries()) this.#remember(set, text);
    return true;
  }

  /**
   * Only a hint of where to look next: two writers at once do no harm. Written over what is there, where that is no
   * longer: ext4 writes a file that was cut back to the disk at once, which takes longer than the rest of an ADD.
   */
  #remember(set: number, text: string): void {
    const file = join(this.#dir, `last_reserved_ip.${set}`);
    const former = read(file);
    const over = former !== undefined && former.length <= text.length;
    if (former !== undefined && !over) rmSync(file, { force: true });
    writeFileSync(file, text, over ? { flag: 'r+' } : { mode: 0o600 });
  }

  release(owner: AttachmentKey): string[] {
    const held = this.find(owner)?.ips ?? this.#leases();
    const released = held.filter((name) => this.#isOwned(name, owner));
    for (const name of released) rmSync(join(this.#dir, name), { force: true });
    // The last two are of an ADD that was killed.
    const record = this.#recordFile(owner);
    for (const file of [record, `${record}.tmp`, `${record}.lease`]) rmSync(file, { force: true });
    return released;
  }

  owners(): AttachmentKey[] {
    const keys = new Map<string, AttachmentKey>();
    for (const name of this.#leases()) {
      const [containerId = '', ifname = ''] = (read(join(this.#dir, name)) ?? '').trim().split(/\r?\n/);
      if (containerId !== '') keys.set(`${containerId} ${ifname}`, { containerId, ifname });
    }
    for (const { containerId, ifname } of this.#allRecords())
      keys.set(`${containerId} ${ifname}`, { containerId, ifname });
    return [...keys.values()];
  }

  taken(): Ip[] {
    return this.#leases().map((name) => parseIp(name) as Ip);
  }

  /** No container outlives a boot: what an earlier boot leased is to be dropped, once a boot. */
  isSwept(): boolean {
    return read(join(this.#records, 'boot')) === this.#bootId;
  }

  /** The caller holds the lock, and asked isSwept again under it. */
  sweep(): void {
    for (const record of this.#allRecords()) if (record.bootId !== this.#bootId) this.release(record);
    mkdirSync(this.#records, { recursive: true, mode: 0o700 });
    // Left by those that the boot cut short: all of this boot wait for this very lock.
    for (const name of readdirSync(this.#records))
      if (!name.endsWith('.json')) rmSync(join(this.#records, name), { force: true });
    writeWhole(join(this.#records, 'boot'), this.#bootId);
  }

  #leases(): string[] {
    return readdirSync(this.#dir).filter((name) => parseIp(name) !== undefined);
  }

  #isOwned(name: string, owner: AttachmentKey): boolean {
    if (!parseIp(name)) return false;
    const text = read(join(this.#dir, name))?.trim();
    // Leases of the reference's early versions hold the container alone.
    return text === leaseText(owner) || text === owner.containerId;
  }

  #recordFile({ containerId, ifname }: AttachmentKey): string {
    return join(this.#records, `${sha256(`${containerId}\n${ifname}`).slice(0, 32)}.json`);
  }

  #allRecords(): LeaseRecord[] {
    if (!existsSync(this.#records)) return [];
    const files = readdirSync(this.#records).filter((name) => name.endsWith('.json'));
    return files
      .map((name) => parseRecord(read(join(this.#records, name))))
      .filter((record) => record !== undefined);
  }
}

/** Temp + rename: a reader sees all of it or nothing. */
function writeWhole(file: string, text: string): void {
  writeFileSync(`${file}.tmp`, text, { mode: 0o600 });
  renameSync(`${file}.tmp`, file);
}

/** A second name for a file where there is none yet; false where there is one. */
function linkNew(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function parseRecord(text: string | undefined): LeaseRecord | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value) || !Array.isArray(value.ips) || typeof value.containerId !== 'string')
      return undefined;
    return value as unknown as LeaseRecord;
  } catch {
    return undefined; // not ours: release() then scans
  }
}

function read(file: string): string | undefined {
  if (!existsSync(file)) return undefined; // most records asked for are not there, and an error takes longer than a look
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cniError('CNI_IO_FAILURE', `${file}: ${(cause as Error).message}`, { cause });
  }
}

export const currentBootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
