// `podwire image`: what images this node has, and how they come and go. The daemon does the work and tells its progress.
// Assumes the routes of cmd/podwired/routes.ts. A pull is one streamed request.
import { age } from '../../../lib/api/durations.ts';
import { resolve } from 'node:path';
import type { Image } from '../../../lib/container/cri.ts';
import { PodwireError } from '../../../lib/exec/errors.ts';
import { type Context, untilInterrupted } from '../context.ts';
import { ExitWith } from '../errors.ts';
import { readJson, readLines, readText } from '../http.ts';
import { bytes } from '../print/bytes.ts';
import { renderObject } from '../print/object.ts';
import { parseOutput } from '../print/output.ts';
import { renderTable } from '../print/text.ts';

const route = '/podwire/v1/images';

/** One line of a streamed answer. */
type Progress = { progress: string } | { image: Image } | { error: string };

export async function runImageList(context: Context, options: { output?: string }): Promise<void> {
  const { items } = await readJson<{ items: Image[] }>(context.socket, route);
  const format =
    options.output === undefined ? undefined : parseOutput(options.output, ['json', 'yaml', 'name', 'wide']);
  if (format?.type === 'name') return context.out(items.map((image) => `${image.ref}\n`).join(''));
  if (format && format.type !== 'wide') return context.out(await renderObject({ items }, format));
  context.out(imageTable(items, { now: Date.now(), width: format ? 'wide' : 'short' }));
}

/** The table of images. Pure. */
export function imageTable(images: readonly Image[], how: { now: number; width: 'wide' | 'short' }): string {
  const rows = images.map((image) => {
    const [repository, tag] = splitRef(image.ref);
    const id =
      image.id === ''
        ? '<built in>'
        : how.width === 'wide'
          ? image.id
          : image.id.replace(/^sha256:/, '').slice(0, 13);
    return [
      repository,
      tag,
      id,
      image.id === '' ? '-' : bytes(image.sizeBytes),
      image.pulledAt === '' || image.id === '' ? '-' : age(image.pulledAt, how.now),
    ];
  });
  return renderTable(['IMAGE', 'TAG', 'IMAGE ID', 'SIZE', 'AGE'], rows);
}

/** `docker.io/library/nginx:1.27` → repository and tag; a digest stands where the tag would. */
function splitRef(ref: string): [string, string] {
  const digest = ref.indexOf('@');
  if (digest >= 0) return [ref.slice(0, digest), ref.slice(digest + 1, digest + 20)];
  const colon = ref.lastIndexOf(':');
  return colon > ref.lastIndexOf('/') ? [ref.slice(0, colon), ref.slice(colon + 1)] : [ref, '<none>'];
}

export const runImagePull = (context: Context, ref: string): Promise<void> =>
  stream(context, `${route}/pull`, { ref });

export const runImageImport = (context: Context, archive: string, options: { ref?: string }): Promise<void> =>
  stream(context, `${route}/import`, {
    path: resolve(archive),
    ...(options.ref ? { ref: options.ref } : {}),
  });

export async function runImageRemove(context: Context, refs: readonly string[]): Promise<void> {
  for (const ref of refs) {
    await readText(context.socket, route, { method: 'DELETE', query: { ref } });
    context.out(`image "${ref}" removed\n`);
  }
}

async function stream(context: Context, path: string, body: object): Promise<void> {
  const signal = untilInterrupted();
  try {
    for await (const line of readLines<Progress>(context.socket, path, { method: 'POST', body, signal })) {
      if ('error' in line) throw new PodwireError('IMAGE', line.error);
      if ('image' in line) context.out(`${line.image.ref}${line.image.id ? `@${line.image.id}` : ''}\n`);
      else if (process.stderr.isTTY) context.err(`${line.progress}\n`);
    }
  } catch (error) {
    if (signal.aborted) throw new ExitWith(130);
    throw error;
  }
}
