// Leases on disk: a file an address in <dataDir>/<network>/, in the form of the reference host-local, and beside
// them, in .podwire/, one record an attachment: container, interface, addresses, boot id, time.
// Invariants, under the lock: the record is written before its leases and removed after them, so a crash at any instant
// leaves nothing that DEL (which reads the record) does not find; a lease file is only ever made with O_EXCL.
// A look-up by attachment is one file read; only leases without a record (the reference's) need a scan.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatIp, type Ip, parseIp } from '../../lib/cni/address.ts';
import { cniError } from '../../lib/cni/errors.ts';
import { isObject } from '../../lib/cni/json.ts';
import type { AttachmentKey } from '../../lib/cni/types.ts';

/** Why records and not more lines in the lease: the reference compares the whole file with "<id>\r\n<ifname>". */
export interface LeaseRecord extends AttachmentKey {
  readonly ips: readonly string[];
  readonly bootId: string;
  /** RFC 3339. */
  readonly time: string;
}

export interface Store {
  isTaken(ip: Ip): boolean;
  lastReserved(set: number): Ip | undefined;
  find(owner: AttachmentKey): LeaseRecord | undefined;
  /** True when that very address is leased to `owner`. */
  holds(owner: AttachmentKey, ip: Ip): boolean;
  /** Takes the addresses, one a range set (undefined: that set gave none). */
  reserve(owner: AttachmentKey, ips: readonly Ip[]): void;
  /** Repeatable. Gives the addresses that were released. */
  release(owner: AttachmentKey): string[];
  /** Everyone who holds a lease, the reference's leases included. */
  owners(): AttachmentKey[];
  /** Addresses that are taken. */
  taken(): Ip[];
}

const lineBreak = '\r\n';
const leaseText = ({ containerId, ifname }: AttachmentKey): string => `${containerId}${lineBreak}${ifname}`;

/** The store in a folder; the caller holds its lock (lock.ts). */
export class DiskStore implements Store {
  readonly #dir: string;
  readonly #records: string;
  readonly #bootId: string;
  constructor(dir: string, bootId = currentBootId()) {
    this.#dir = dir;
    this.#records = join(dir, '.podwire');
    this.#bootId = bootId;
    this.#dropFormerBoots();
  }

  isTaken(ip: Ip): boolean {
    return existsSync(join(this.#dir, formatIp(ip)));
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

  reserve(owner: AttachmentKey, ips: readonly Ip[]): void {
    const texts = ips.map(formatIp);
    const record: LeaseRecord = {
      containerId: owner.containerId,
      ifname: owner.ifname,
      ips: texts,
      bootId: this.#bootId,
      time: new Date().toISOString(),
    };
    mkdirSync(this.#records, { recursive: true, mode: 0o700 });
    writeFileSync(this.#recordFile(owner), JSON.stringify(record), { mode: 0o600 });
    for (const text of texts) writeFileSync(join(this.#dir, text), leaseText(owner), { flag: 'wx', mode: 0o600 });
    for (const [set, text] of texts.entries()) writeFileSync(join(this.#dir, `last_reserved_ip.${set}`), text, { mode: 0o600 });
  }

  release(owner: AttachmentKey): string[] {
    const record = this.find(owner);
    const held = record ? record.ips : this.#leases().filter((name) => this.#isOwned(name, owner));
    const released = held.filter((name) => this.#isOwned(name, owner));
    for (const name of released) unlinkSync(join(this.#dir, name));
    rmSync(this.#recordFile(owner), { force: true });
    return released;
  }

  owners(): AttachmentKey[] {
    const keys = new Map<string, AttachmentKey>();
    for (const name of this.#leases()) {
      const [containerId = '', ifname = ''] = (read(join(this.#dir, name)) ?? '').trim().split(/\r?\n/);
      if (containerId !== '') keys.set(`${containerId} ${ifname}`, { containerId, ifname });
    }
    for (const { containerId, ifname } of this.#allRecords()) keys.set(`${containerId} ${ifname}`, { containerId, ifname });
    return [...keys.values()];
  }

  taken(): Ip[] {
    return this.#leases().map((name) => parseIp(name) as Ip);
  }

  #leases(): string[] {
    return readdirSync(this.#dir).filter((name) => parseIp(name) !== undefined);
  }

  /** An empty lease is one that a crash cut short: its record tells whose it is. */
  #isOwned(name: string, owner: AttachmentKey): boolean {
    if (!parseIp(name)) return false;
    const text = read(join(this.#dir, name))?.trim();
    const ofRecord = text === '' && this.find(owner)?.ips.includes(name) === true;
    // Leases of the reference's early versions hold the container alone.
    return text === leaseText(owner) || text === owner.containerId || ofRecord;
  }

  #recordFile({ containerId, ifname }: AttachmentKey): string {
    const name = createHash('sha256').update(`${containerId}\n${ifname}`).digest('hex').slice(0, 32);
    return join(this.#records, `${name}.json`);
  }

  #allRecords(): LeaseRecord[] {
    if (!existsSync(this.#records)) return [];
    const files = readdirSync(this.#records).filter((name) => name.endsWith('.json'));
    return files.map((name) => parseRecord(read(join(this.#records, name)))).filter((record) => record !== undefined);
  }

  /** No container outlives a boot: what an earlier boot leased is free. Once a boot, told by a file of its id. */
  #dropFormerBoots(): void {
    const marker = join(this.#records, 'boot');
    if (read(marker) === this.#bootId) return;
    for (const record of this.#allRecords()) if (record.bootId !== this.#bootId) this.release(record);
    mkdirSync(this.#records, { recursive: true, mode: 0o700 });
    writeFileSync(marker, this.#bootId, { mode: 0o600 });
  }
}

function parseRecord(text: string | undefined): LeaseRecord | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value) || !Array.isArray(value.ips) || typeof value.containerId !== 'string') return undefined;
    return value as unknown as LeaseRecord;
  } catch {
    return undefined; // cut short by a crash: as good as none, and release() then scans
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cniError('CNI_IO_FAILURE', `${file}: ${(cause as Error).message}`, { cause });
  }
}

export const currentBootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
