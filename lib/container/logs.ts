// Reads container logs in the CRI format: `TIME STREAM TAGS TEXT`, a long line in parts (tag P) with a last one (F).
// Assumes conmon appends and never changes what it wrote; at the size limit it puts a new, empty file in the place. The tail of a big file is found from its end, block by
// block; following wakes on inotify and, should that miss, every second. Memory: one block and one joined line.
import { type FSWatcher, watch } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { PodwireError } from '../exec/errors.ts';

export interface LogOptions {
  readonly path: string;
  /** Goes on at the end of the file until the signal aborts or `isFinished` says so. */
  readonly follow?: boolean;
  /** The last so many lines; all when absent. */
  readonly tailLines?: number;
  /** RFC 3339; lines before it are left out. */
  readonly sinceTime?: string;
  /** Puts each line's time before it. */
  readonly timestamps?: boolean;
  /** Ends after so many bytes, cutting a line if need be. */
  readonly limitBytes?: number;
  readonly signal?: AbortSignal;
  /** True when nothing will be appended any more (the container has exited). */
  readonly isFinished?: () => boolean;
}

/** One line as the program wrote it, parts joined; `text` ends with a newline. */
export interface LogLine {
  readonly stream: 'stdout' | 'stderr';
  /** As in the file: RFC 3339 with nanoseconds. */
  readonly time: string;
  readonly text: Buffer;
}

interface LogPart extends LogLine {
  readonly partial: boolean;
}

const newline = 0x0a;
const space = 0x20;
const blockSize = 64 * 1024;
/** Time, stream and tags fit into it. */
const headSize = 128;
/** A line without an end (a progress bar) is handed on in pieces of this size. */
const longestLine = 1024 * 1024;
const relookMs = 1000;

/** What `kubectl logs` prints, in chunks of whole lines. @throws PodwireError LOG_NOT_FOUND */
export async function* readLogs(options: LogOptions): AsyncGenerator<Buffer> {
  let left = options.limitBytes ?? Number.POSITIVE_INFINITY;
  for await (const line of readLogLines(options)) {
    const shown = options.timestamps ? Buffer.concat([Buffer.from(`${line.time} `), line.text]) : line.text;
    yield left < shown.length ? shown.subarray(0, left) : shown;
    left -= shown.length;
    if (left <= 0) return;
  }
}

/** The same, line by line with stream and time. @throws PodwireError LOG_NOT_FOUND */
export async function* readLogLines(options: LogOptions): AsyncGenerator<LogLine> {
  const { path, tailLines, sinceTime } = options;
  const since = sinceTime === undefined ? undefined : timeKey(sinceTime);
  const file = await openLog(path);
  try {
    const from = tailLines === undefined ? 0 : await tailStart(file, tailLines);
    const joiner = new Joiner();
    for await (const raw of rawLines(file, from, options)) {
      const part = parseLogLine(raw);
      const line = part && joiner.add(part);
      if (line && (since === undefined || timeKey(line.time) >= since)) yield line;
    }
    yield* joiner.rest();
  } finally {
    await file.close();
  }
}

/** One line of the file without its newline; undefined when it is none of the format. Pure. */
export function parseLogLine(raw: Buffer): LogPart | undefined {
  const afterTime = raw.indexOf(space);
  const afterStream = raw.indexOf(space, afterTime + 1);
  const afterTags = raw.indexOf(space, afterStream + 1);
  if (afterTime < 0 || afterStream < 0) return undefined;
  const stream = raw.toString('latin1', afterTime + 1, afterStream);
  // An empty line may come without the last space.
  const tags = raw.toString('latin1', afterStream + 1, afterTags < 0 ? raw.length : afterTags);
  const [tag] = tags.split(':');
  if ((stream !== 'stdout' && stream !== 'stderr') || (tag !== 'P' && tag !== 'F')) return undefined;
  const text = afterTags < 0 ? Buffer.alloc(0) : raw.subarray(afterTags + 1);
  return { stream, time: raw.toString('latin1', 0, afterTime), text, partial: tag === 'P' };
}

/** Joins the parts of long lines; the two streams' parts may come interleaved. */
class Joiner {
  readonly #pending = new Map<string, { time: string; texts: Buffer[]; size: number }>();

  add(part: LogPart): LogLine | undefined {
    const before = this.#pending.get(part.stream);
    const pending = before ?? { time: part.time, texts: [], size: 0 };
    pending.texts.push(part.text);
    pending.size += part.text.length;
    if (part.partial && pending.size < longestLine) {
      this.#pending.set(part.stream, pending);
      return undefined;
    }
    this.#pending.delete(part.stream);
    const end = part.partial ? [] : [Buffer.from('\n')];
    return { stream: part.stream, time: pending.time, text: Buffer.concat([...pending.texts, ...end]) };
  }

  /** Lines whose end never came. */
  *rest(): Generator<LogLine> {
    for (const [stream, { time, texts }] of this.#pending)
      yield { stream: stream as LogLine['stream'], time, text: Buffer.concat(texts) };
  }
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new PodwireError('LOG_NOT_FOUND', `${path}: there is no such log (yet)`, { cause: error });
  }
}

/** Lines from an offset on, without their newlines; with `follow` until the end of all writing, across new files. */
async function* rawLines(first: FileHandle, from: number, options: LogOptions): AsyncGenerator<Buffer> {
  const { follow = false, signal, isFinished = () => false } = options;
  let changes = follow ? new Changes(options.path, signal) : undefined;
  let file = first;
  let replaced = false;
  const block = Buffer.alloc(blockSize);
  let at = from;
  let rest: Buffer[] = [];
  try {
    while (!signal?.aborted) {
      // Asked before reading: what was written until then is read for sure.
      const finished = !follow || isFinished();
      const { bytesRead } = await file.read(block, 0, blockSize, at);
      at += bytesRead;
      if (bytesRead === 0) {
        if (replaced) {
          if (file !== first) await file.close();
          file = first; // closed by the caller: nothing of ours is open should the next line throw
          file = await openLog(options.path);
          changes?.close();
          changes = new Changes(options.path, signal);
          [replaced, at, rest] = [false, 0, []];
        } else if (follow && (await isReplaced(file, options.path)))
          replaced = true; // complete now: read on to its end
        else if (finished) return;
        else await changes!.next();
        continue;
      }
      let start = 0;
      for (
        let end = block.indexOf(newline);
        end >= 0 && end < bytesRead;
        end = block.indexOf(newline, start)
      ) {
        yield Buffer.concat([...rest, block.subarray(start, end)]);
        rest = [];
        start = end + 1;
      }
      if (start < bytesRead) rest.push(Buffer.from(block.subarray(start, bytesRead)));
    }
  } finally {
    changes?.close();
    if (file !== first) await file.close();
  }
}

/** Another file stands in its place by now. */
async function isReplaced(file: FileHandle, path: string): Promise<boolean> {
  const [held, there] = await Promise.all([file.stat(), stat(path).catch(() => undefined)]);
  return there !== undefined && there.ino !== held.ino;
}

/** Wakes when the file may have grown, at the latest after a second, and when the reader has had enough. */
class Changes {
  readonly #watcher: FSWatcher | undefined;
  readonly #signal: AbortSignal | undefined;
  #changed = false;
  #wake: () => void = () => {};

  constructor(path: string, signal: AbortSignal | undefined) {
    try {
      this.#watcher = watch(path, { persistent: false }, () => this.#note());
      this.#watcher.on('error', () => {}); // the look every second goes on
    } catch {
      // and does so where the machine has no inotify instance left
    }
    this.#signal = signal;
    signal?.addEventListener('abort', this.#note);
  }

  async next(): Promise<void> {
    if (!this.#changed)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, relookMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    this.#changed = false;
  }

  close(): void {
    this.#watcher?.close();
    this.#signal?.removeEventListener('abort', this.#note);
  }

  readonly #note = (): void => {
    this.#changed = true;
    this.#wake();
  };
}

/** Where the last `count` whole lines begin: looks from the end for lines that end a line of the program (tag F). */
async function tailStart(file: FileHandle, count: number): Promise<number> {
  const { size } = await file.stat();
  if (count <= 0) return size;
  let seen = 0;
  let start = size;
  for await (const { at, head } of linesBackward(file, size)) {
    const part = parseLogLine(head);
    // A part of a longer line belongs to the line that follows it in the file; the very last may still wait for its end.
    const ends = part && (!part.partial || start === size);
    if (ends && ++seen > count) return start;
    start = at;
  }
  return start;
}

/** Offsets and first bytes of the file's lines, the last one first. Each block is read once. */
async function* linesBackward(file: FileHandle, size: number): AsyncGenerator<{ at: number; head: Buffer }> {
  let following = Buffer.alloc(0); // the first bytes after the block, for a line that begins at its end
  for (let end = size; end > 0; end = Math.max(0, end - blockSize)) {
    const from = Math.max(0, end - blockSize);
    const block = Buffer.alloc(end - from);
    await file.read(block, 0, block.length, from);
    const bytes = Buffer.concat([block, following]);
    const lineAt = (start: number) => {
      const head = bytes.subarray(start, start + headSize);
      const lineEnd = head.indexOf(newline);
      return { at: from + start, head: lineEnd < 0 ? head : head.subarray(0, lineEnd) };
    };
    for (
      let cut = block.lastIndexOf(newline);
      cut >= 0;
      cut = cut > 0 ? block.lastIndexOf(newline, cut - 1) : -1
    )
      if (from + cut + 1 < size) yield lineAt(cut + 1);
    if (from === 0) yield lineAt(0);
    following = bytes.subarray(0, headSize);
  }
}

/** A form in which RFC 3339 times of any offset and precision can be compared as texts. Pure. */
export function timeKey(time: string): string {
  const fraction = time.match(/\.([0-9]+)/)?.[1] ?? '';
  const seconds = Date.parse(time.replace(/\.[0-9]+/, ''));
  if (Number.isNaN(seconds)) return '';
  return `${`${seconds}`.padStart(16, '0')}.${fraction.padEnd(9, '0')}`;
}
