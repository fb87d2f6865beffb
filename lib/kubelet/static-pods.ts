// Static Pods: one manifest a file in /etc/podwire/manifests, run without anybody asking the API.
// Assumes a bad file is a message in the log and no reason to touch the others. Reads the folder when it changes,
// and every 20 s because a watch can miss. Source: kubelet's file config source.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { parseAllDocuments, type Tags } from 'yaml';
import type { Pod } from '../api/types.ts';
import { kubernetesTags } from '../api/yaml-tags.ts';
import { messageOf } from '../exec/errors.ts';
import { sourceAnnotation } from './layout.ts';

const customTags = (tags: Tags): Tags => [...kubernetesTags, ...tags];

export interface StaticPod {
  readonly file: string;
  readonly pod: Pod;
}

const hashAnnotation = 'kubernetes.io/config.hash';
const pollMs = 20_000;
// An editor writes a file in several steps; one look after the last of them is enough.
const settleMs = 50;

export interface StaticPodsInput {
  readonly dir: string;
  readonly nodeName: string;
  readonly decode: (document: unknown) => Pod;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** All static Pods there are, each time the folder changed. */
  readonly onChange: (pods: readonly StaticPod[]) => void;
}

/** Looks once before it returns, then until the signal aborts. */
export function watchStaticPods(input: StaticPodsInput): void {
  const { dir, signal, log } = input;
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  let last: string | undefined;
  let settle: NodeJS.Timeout | undefined;
  const look = (): void => {
    const pods = attempt(input);
    if (!pods) return; // what ran goes on
    const now = pods.map(({ pod }) => pod.metadata.uid).join();
    if (now === last) return;
    last = now;
    input.onChange(pods);
  };
  look();
  const poll = setInterval(look, pollMs);
  const warn = (error: unknown): void =>
    log.warn({ err: error, dir }, 'watch of static Pods failed; polling goes on');
  try {
    const watcher = watch(dir, { signal }, () => {
      clearTimeout(settle);
      settle = setTimeout(look, settleMs);
    });
    watcher.on('error', warn);
  } catch (error) {
    warn(error); // no inotify watch left
  }
  signal.addEventListener('abort', () => {
    clearInterval(poll);
    clearTimeout(settle);
  });
}

/** The manifests, undefined while the folder cannot be read. */
function attempt(input: StaticPodsInput): StaticPod[] | undefined {
  try {
    return readManifests(input);
  } catch (error) {
    input.log.error({ dir: input.dir, err: error }, `static Pods cannot be read: ${messageOf(error)}`);
    return undefined;
  }
}

/** The Pods of a folder; files that are none are logged and passed over. */
export function readManifests(
  input: Pick<StaticPodsInput, 'dir' | 'nodeName' | 'decode' | 'log'>,
): StaticPod[] {
  const { dir, log } = input;
  const names = readdirSync(dir)
    .filter((name) => /\.(ya?ml|json)$/.test(name) && !name.startsWith('.'))
    .sort();
  const taken = new Map<string, string>();
  return names.flatMap((name) => {
    const file = join(dir, name);
    try {
      return parseAllDocuments(readFileSync(file, 'utf8'), { customTags }).flatMap((document) => {
        if (document.errors[0]) throw document.errors[0];
        const value = document.toJS();
        if (value === null) return [];
        const pod = toStaticPod(input.decode(value), file, input.nodeName);
        claim(taken, pod, file);
        return [{ file, pod }];
      });
    } catch (error) {
      log.error({ file, err: error }, `static Pod not taken: ${file}: ${messageOf(error)}`);
      return [];
    }
  });
}

/** @throws Error when another file has a Pod of that name */
function claim(taken: Map<string, string>, pod: Pod, file: string): void {
  const key = `${pod.metadata.namespace}/${pod.metadata.name}`;
  const other = taken.get(key);
  if (other !== undefined) throw new Error(`Pod ${key} stands in ${other} already`);
  taken.set(key, file);
}

/** Name and uid as kubelet makes them: NAME-NODE, and a hash of where it stands and what it says. */
export function toStaticPod(pod: Pod, file: string, nodeName: string): Pod {
  const digest = createHash('sha256')
    .update(`${nodeName}\0${file}\0${JSON.stringify(pod)}`)
    .digest('hex');
  const parts = [
    digest.slice(0, 8),
    digest.slice(8, 12),
    digest.slice(12, 16),
    digest.slice(16, 20),
    digest.slice(20, 32),
  ];
  const uid = parts.join('-');
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      name: `${pod.metadata.name}-${nodeName}`,
      namespace: pod.metadata.namespace ?? 'default',
      uid,
      annotations: { ...pod.metadata.annotations, [hashAnnotation]: uid, [sourceAnnotation]: 'file' },
    },
    spec: { ...pod.spec, nodeName },
  };
}
