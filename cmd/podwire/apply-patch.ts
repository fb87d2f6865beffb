// What `apply` sends: the difference of three objects (what was applied last, what is wanted now, what lives) as a JSON
// merge patch. Assumes the server fills the same defaults again in a list that is replaced. Pure; linear in the object.

/** Where kubectl keeps what it applied last; the same key, so both tools may be used on one object. */
export const lastAppliedKey = 'kubectl.kubernetes.io/last-applied-configuration';

type Json = Record<string, unknown>;

/** The manifest with itself written down in its annotation. */
export function withLastApplied<T extends { metadata: { annotations?: Record<string, string> } }>(
  manifest: T,
): T {
  const { [lastAppliedKey]: _, ...annotations } = manifest.metadata.annotations ?? {};
  const bare = { ...manifest, metadata: { ...manifest.metadata, annotations } };
  const text = `${JSON.stringify(bare)}\n`;
  return {
    ...manifest,
    metadata: { ...manifest.metadata, annotations: { ...annotations, [lastAppliedKey]: text } },
  };
}

/** The object that `withLastApplied` wrote into a live object's annotation; {} when it is not there or not readable. */
export function lastApplied(live: { metadata?: { annotations?: Record<string, string> } }): Json {
  try {
    const value: unknown = JSON.parse(live.metadata?.annotations?.[lastAppliedKey] ?? '{}');
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}

/**
 * The merge patch (RFC 7386) that brings `live` to `wanted`: what differs is set, what was applied last and is no longer
 * wanted is removed, what others wrote stays. Undefined when there is nothing to do.
 */
export function applyPatch(last: Json, wanted: Json, live: Json): Json | undefined {
  const patch: Json = {};
  for (const [key, value] of Object.entries(wanted)) {
    const there = live[key];
    if (isRecord(value) && isRecord(there)) {
      const before = last[key];
      const inner = applyPatch(isRecord(before) ? before : {}, value, there);
      if (inner) patch[key] = inner;
    } else if (!covers(there, value)) {
      patch[key] = value;
    }
  }
  for (const key of Object.keys(last)) if (!(key in wanted) && key in live) patch[key] = null;
  return Object.keys(patch).length > 0 ? patch : undefined;
}

/** True when `live` says everything that `wanted` says; it may say more (the server's defaults). */
export function covers(live: unknown, wanted: unknown): boolean {
  if (wanted === null || wanted === undefined) return live === null || live === undefined;
  if (Array.isArray(wanted))
    return (
      Array.isArray(live) &&
      live.length === wanted.length &&
      wanted.every((item, at) => covers(live[at], item))
    );
  if (isRecord(wanted))
    return isRecord(live) && Object.entries(wanted).every(([key, value]) => covers(live[key], value));
  return live === wanted;
}

const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
