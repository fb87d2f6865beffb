// Kubernetes quantities (100m, 0.5, 64Mi, 1e3): read exactly, compare, and turn into the kernel's units.
// Assumes the syntax of k8s.io/apimachinery/pkg/api/resource; anything finer than a nano is rounded up, as there.
// Pure, O(length).

const syntax = /^([+-]?)(\d+\.?\d*|\.\d+)(?:([eE][+-]?\d{1,2})|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E)?)$/;
const binary = ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const decimal: Record<string, number> = { n: -9, u: -6, m: -3, '': 0, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };
const nano = 10n ** 9n;

/** True for what Kubernetes would read as a quantity. */
export function isQuantity(value: unknown): value is string | number {
  if (typeof value === 'number') return Number.isFinite(value);
  return typeof value === 'string' && value.length <= 64 && syntax.test(value);
}

/**
 * The quantity in nanos (10⁻⁹), exact.
 * @throws RangeError when it is none; check with isQuantity before.
 */
export function quantityNanos(value: string | number): bigint {
  const match = syntax.exec(String(value));
  if (!match) throw new RangeError(`${JSON.stringify(value)} is not a quantity`);
  const [, sign, digits = '', exponent, suffix = ''] = match;
  const [whole = '', fraction = ''] = digits.split('.');
  const mantissa = BigInt(`${whole}${fraction}` || '0');
  const power = binary.indexOf(suffix);
  const scale = power >= 0 ? 1024n ** BigInt(power + 1) : 1n;
  const tens = (exponent ? Number(exponent.slice(1)) : (decimal[suffix] ?? 0)) + 9 - fraction.length;
  const scaled = mantissa * scale;
  const size = tens >= 0 ? scaled * 10n ** BigInt(tens) : roundUp(scaled, 10n ** BigInt(-tens));
  return sign === '-' ? -size : size;
}

/** Whole units, rounded up: bytes of a memory quantity. */
export function quantityValue(value: string | number): number {
  return Number(roundUp(quantityNanos(value), nano));
}

/** Thousandths, rounded up: millicores of a cpu quantity. */
export function quantityMilli(value: string | number): number {
  return Number(roundUp(quantityNanos(value), 10n ** 6n));
}

/** Negative, 0 or positive as a is less than, equal to or more than b. */
export function compareQuantities(a: string | number, b: string | number): number {
  const difference = quantityNanos(a) - quantityNanos(b);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** hugepages-2Mi: a resource for each size of pages. */
export const isHugePages = (resource: string): boolean => /^hugepages-[1-9]\d*(Ki|Mi|Gi)$/.test(resource);

/** Bytes of one page. */
export const hugePageBytes = (resource: string): number => quantityValue(resource.slice('hugepages-'.length));

function roundUp(value: bigint, unit: bigint): bigint {
  const quotient = value / unit;
  return value > 0n && quotient * unit !== value ? quotient + 1n : quotient;
}
