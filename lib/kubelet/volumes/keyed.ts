// From the keys of a ConfigMap or Secret to the files of a volume: all of them, or those that `items` names. Pure.
// Assumes validated paths. O(bytes). Source: kubelet's configmap.MakePayload, secret.MakePayload.
import type { ConfigMap, Secret } from '../../api/types.ts';
import type { Payload } from './volume.ts';

export interface KeyedSource {
  readonly name?: string | undefined;
  readonly items?: readonly { readonly key: string; readonly path: string; readonly mode?: number }[];
  readonly optional?: boolean;
  /** Of files without a mode of their own. */
  readonly defaultMode: number;
}

/** @throws RangeError in Kubernetes' words: the object or a key of it is missing, and not optional */
export function configMapPayload(source: KeyedSource, object: ConfigMap | undefined): Payload {
  if (!object) return absent(source, `configmap "${source.name}" not found`);
  const { data = {}, binaryData = {} } = object;
  const contents = new Map<string, Uint8Array>();
  for (const [key, text] of Object.entries(data)) contents.set(key, Buffer.from(text));
  for (const [key, text] of Object.entries(binaryData)) contents.set(key, Buffer.from(text, 'base64'));
  return chosen(source, contents, (key) => `configmap references non-existent config key: ${key}`);
}

/** @throws RangeError, which never holds a value */
export function secretPayload(source: KeyedSource, object: Secret | undefined): Payload {
  if (!object) return absent(source, `secret "${source.name}" not found`);
  const contents = new Map<string, Uint8Array>();
  for (const [key, text] of Object.entries(object.data ?? {})) contents.set(key, Buffer.from(text, 'base64'));
  return chosen(source, contents, (key) => `references non-existent secret key: ${key}`);
}

function absent({ optional }: KeyedSource, message: string): Payload {
  if (optional) return new Map();
  throw new RangeError(message);
}

function chosen(
  { items = [], optional, defaultMode }: KeyedSource,
  contents: ReadonlyMap<string, Uint8Array>,
  missing: (key: string) => string,
): Payload {
  if (items.length === 0)
    return new Map([...contents].map(([key, data]) => [key, { data, mode: defaultMode }]));
  const payload = new Map<string, { data: Uint8Array; mode: number }>();
  for (const { key, path, mode = defaultMode } of items) {
    const data = contents.get(key);
    if (data) payload.set(path, { data, mode });
    else if (!optional) throw new RangeError(missing(key));
  }
  return payload;
}
