// What limits mean in the files of cgroup v1 and v2. Pure.
// Assumes CRI units: shares 2..262144, quota in microseconds a period of 100 000, bytes, a count of processes.
// A handful of writes a group.

export interface Limits {
  readonly cpuShares?: number;
  /** Microseconds of CPU a period of 100 000. */
  readonly cpuQuota?: number;
  /** Bytes. */
  readonly memoryLimit?: number;
  readonly pidsLimit?: number;
  /** Bytes, by the kernel's name of a page size: 2MB, 1GB. */
  readonly hugepageLimits?: Readonly<Record<string, number>>;
}

export interface CgroupWrite {
  readonly controller: 'cpu' | 'memory' | 'pids' | 'hugetlb';
  readonly file: string;
  readonly value: string;
}

export const cpuPeriod = 100_000;

/**
 * cpu.weight (1..10000) of cpu.shares (2..262144).
 * Source: the linear map that Kubernetes KEP-2254 and the OCI runtimes use.
 */
export function weightOfShares(shares: number): number {
  const clamped = Math.min(Math.max(shares, 2), 262_144);
  return Math.floor(1 + ((clamped - 2) * 9999) / 262_142);
}

/** The files to write, in order. */
export function limitWrites(limits: Limits, version: 'v1' | 'v2'): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const { cpuShares, cpuQuota, memoryLimit, pidsLimit } = limits;
  const v2 = version === 'v2';
  if (cpuShares !== undefined)
    writes.push(
      v2
        ? { controller: 'cpu', file: 'cpu.weight', value: `${weightOfShares(cpuShares)}` }
        : { controller: 'cpu', file: 'cpu.shares', value: `${cpuShares}` },
    );
  if (cpuQuota !== undefined && v2)
    writes.push({
      controller: 'cpu',
      file: 'cpu.max',
      value: `${cpuQuota > 0 ? cpuQuota : 'max'} ${cpuPeriod}`,
    });
  if (cpuQuota !== undefined && !v2) {
    writes.push({ controller: 'cpu', file: 'cpu.cfs_period_us', value: `${cpuPeriod}` });
    writes.push({ controller: 'cpu', file: 'cpu.cfs_quota_us', value: `${cpuQuota > 0 ? cpuQuota : -1}` });
  }
  if (memoryLimit !== undefined)
    writes.push({
      controller: 'memory',
      file: v2 ? 'memory.max' : 'memory.limit_in_bytes',
      value: memoryLimit > 0 ? `${memoryLimit}` : v2 ? 'max' : '-1',
    });
  if (pidsLimit !== undefined)
    writes.push({ controller: 'pids', file: 'pids.max', value: pidsLimit > 0 ? `${pidsLimit}` : 'max' });
  for (const [size, bytes] of Object.entries(limits.hugepageLimits ?? {}))
    writes.push({
      controller: 'hugetlb',
      file: `hugetlb.${size}.${v2 ? 'max' : 'limit_in_bytes'}`,
      value: `${bytes}`,
    });
  return writes;
}
