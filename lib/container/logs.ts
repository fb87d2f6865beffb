// Reads container logs in the CRI format: `TIME STREAM TAGS TEXT`, a long line in parts (tag P) with a last one (F).
// Assumes conmon appends and never changes what it wrote, and that full files are put aside (log-rotation.ts): all of them
// are one log here. The tail of a big file is found from its end, block by block, that of older ones by reading them twice;
// following wakes on inotify and, should that miss, every second. Memory: one block and one joined line.
import { type FSWatcher, watch } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { PodwireError } from '../exec/errors.ts';
import { type OlderLog, olderLogs, readOlder } from './log-files.ts';

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
  const since = options.sinceTime === undefined ? undefined : timeKey(options.sinceTime);
  const joiner = new Joiner();
  for await (const raw of rawLines(options)) {
    const part = parseLogLine(raw);
    const line = part && joiner.add(part);
    if (line && (since === undefined || timeKey(line.time) >= since)) yield line;
  }
  yield* joiner.rest();
}

/** What is written after the first `from` bytes, as it comes: also the part of a line that waits for its end (a prompt). */
export async function* followOutput(
  options: Pick<LogOptions, 'path' | 'signal' | 'isFinished'> & { readonly from: number },
): AsyncGenerator<Pick<LogLine, 'stream' | 'text'>> {
  for await (const raw of rawLines({ ...options, follow: true })) {
    const part = parseLogLine(raw);
    if (part)
      yield {
        stream: part.stream,
        text: part.partial ? part.text : Buffer.concat([part.text, Buffer.from('\n')]),
      };
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

interface OpenLog {
  /** The file being written; undefined where it was put aside and no new one has been begun. */
  readonly file: FileHandle | undefined;
  /** The oldest first, all of them put aside before `file` was begun. */
  readonly older: readonly OlderLog[];
}

/** @throws PodwireError LOG_NOT_FOUND */
async function openLog(path: string): Promise<OpenLog> {
  for (let before = await olderLogs(path); ; ) {
    const file = await openIfThere(path);
    const older = await olderLogs(path);
    // Put aside while we looked: then we hold one of the older ones.
    if (older.at(-1)?.stamp === before.at(-1)?.stamp) {
      if (file || older.length > 0) return { file, older };
      throw new PodwireError('LOG_NOT_FOUND', `${path}: there is no such log (yet)`);
    }
    await file?.close();
    before = older;
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** All lines asked for, without their newlines, over all files; with `follow` until the end of all writing. */
async function* rawLines(options: LogOptions & { readonly from?: number }): AsyncGenerator<Buffer> {
  const { path, tailLines, sinceTime } = options;
  const log = await openLog(path);
  try {
    const tail: Tail =
      options.from === undefined ? await tailOf(log.file, tailLines) : { from: options.from };
    if (tail.missing !== undefined) yield* olderLines(await since(log.older, sinceTime), tail.missing);
    yield* writtenLines(log, tail.from, options);
  } finally {
    await log.file?.close();
  }
}

/** Lines from an offset on of the file being written; with `follow` also of those that take its place. */
async function* writtenLines(log: OpenLog, from: number, options: LogOptions): AsyncGenerator<Buffer> {
  const { path, follow = false, signal, isFinished = () => false } = options;
  let newest = log.older.at(-1)?.stamp ?? '';
  let file = log.file;
  let changes = follow ? new Changes(path, signal) : undefined;
  let replaced = file === undefined;
  const block = Buffer.alloc(blockSize);
  let at = from;
  const splitter = new Splitter();
  try {
    while (!signal?.aborted) {
      // Asked before reading: what was written until then is read for sure.
      const finished = !follow || isFinished();
      const { bytesRead } = file ? await file.read(block, 0, blockSize, at) : { bytesRead: 0 };
      at += bytesRead;
      if (bytesRead > 0) yield* splitter.split(block.subarray(0, bytesRead));
      else if (replaced) {
        // Older ones are those that came and went since; the first of them is the one that was read here.
        const next = await openLog(path);
        const between = next.older.filter(({ stamp }) => stamp > newest).slice(file ? 1 : 0);
        if (file !== log.file) await file?.close();
        file = next.file;
        newest = next.older.at(-1)?.stamp ?? '';
        for (const older of between) yield* linesOf(older, splitter);
        changes?.close();
        changes = follow ? new Changes(path, signal) : undefined;
        [replaced, at] = [file === undefined, 0];
        if (file) continue;
        if (finished) return;
        await changes!.next();
      } else if (follow && (await isReplaced(file!, path)))
        replaced = true; // complete now: read on to its end
      else if (finished) return;
      else await changes!.next();
    }
  } finally {
    changes?.close();
    if (file !== log.file) await file?.close();
  }
}

/** Cuts bytes into lines without their newlines; what has no end yet waits. */
class Splitter {
  #rest: Buffer[] = [];

  *split(block: Buffer): Generator<Buffer> {
    let start = 0;
    for (let end = block.indexOf(newline); end >= 0; end = block.indexOf(newline, start)) {
      yield Buffer.concat([...this.#rest, block.subarray(start, end)]);
      this.#rest = [];
      start = end + 1;
    }
    if (start < block.length) this.#rest.push(Buffer.from(block.subarray(start)));
  }
}

/** The lines of an older file; one that is compressed meanwhile is read so, one that is removed is gone. */
async function* linesOf(log: OlderLog, splitter = new Splitter()): AsyncGenerator<Buffer> {
  try {
    for await (const block of readOlder(log)) yield* splitter.split(block as Buffer);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    if (!log.compressed) yield* linesOf({ ...log, path: `${log.path}.gz`, compressed: true }, splitter);
  }
}

/** The last `count` lines of the older files together. */
async function* olderLines(older: readonly OlderLog[], count: number): AsyncGenerator<Buffer> {
  let first = count === Number.POSITIVE_INFINITY ? 0 : older.length;
  let skip = 0;
  for (let missing = count; first > 0 && skip === 0; ) {
    const ends = await countEnds(older[--first]!);
    if (ends > missing) skip = ends - missing;
    missing = Math.max(0, missing - ends);
  }
  for (const log of older.slice(first))
    for await (const raw of linesOf(log)) {
      if (skip === 0) yield raw;
      else if (endsLine(raw)) skip--;
    }
}

async function countEnds(log: OlderLog): Promise<number> {
  let ends = 0;
  for await (const raw of linesOf(log)) if (endsLine(raw)) ends++;
  return ends;
}

const endsLine = (raw: Buffer): boolean => parseLogLine(raw)?.partial === false;

/** Those that may hold lines of that time or later: a file's time is that of its last line. */
async function since(older: readonly OlderLog[], sinceTime: string | undefined): Promise<OlderLog[]> {
  if (sinceTime === undefined) return [...older];
  const from = Date.parse(sinceTime) - 1000;
  const ends = await Promise.all(older.map(({ path }) => stat(path).catch(() => undefined)));
  // One that is gone from its path has been compressed meanwhile.
  return older.filter((_, index) => (ends[index]?.mtimeMs ?? Number.POSITIVE_INFINITY) >= from);
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

/** Where the last lines begin; `missing`: so many more are to be looked for in the older files. */
interface Tail {
  readonly from: number;
  readonly missing?: number;
}

/** Looks from the end for lines that end a line of the program (tag F). */
async function tailOf(file: FileHandle | undefined, count = Number.POSITIVE_INFINITY): Promise<Tail> {
  if (!file || count === Number.POSITIVE_INFINITY) return { from: 0, missing: count };
  const { size } = await file.stat();
  if (count <= 0) return { from: size };
  let seen = 0;
  let from = size;
  for await (const { at, head } of linesBackward(file, size)) {
    const part = parseLogLine(head);
    // A part of a longer line belongs to the line that follows it in the file; the very last may still wait for its end.
    const ends = part && (!part.partial || from === size);
    if (ends && ++seen > count) return { from };
    from = at;
  }
  return { from, missing: count - seen };
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
