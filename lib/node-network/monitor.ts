// Watches the kernel for changes that are not ours: `ip monitor`, one process, a line a change. What is said is held
// against what is wanted, so our own changes wake nobody. Assumes `ip -o monitor link address route neigh`, whose neigh
// lines include FDB entries. A line is a few comparisons; what flows by unseen (a link that goes down takes its IPv4
// routes silently) shows as a line about the link.
import { findProgram } from '../exec/find-program.ts';
import { openSession } from '../exec/session.ts';
import { netText } from '../kernel/overlay.ts';
import { routeProtocol } from './entries.ts';
import { loLabel } from './own-link.ts';
import type { NodeEntries } from './types.ts';

export interface Watched {
  /** The backend's own link, if it has one. */
  readonly link: string | undefined;
  readonly underlay: string;
  readonly wanted: NodeEntries;
}

/** What a line calls for: 'link': look at links and entries; 'entries': at entries alone. Pure. */
export function judgeLine(line: string, watched: Watched): 'link' | 'entries' | undefined {
  const deleted = line.startsWith('Deleted ');
  const text = deleted ? line.slice('Deleted '.length) : line;
  const about = /^\d+: ([^:@\s]+)/.exec(text)?.[1];
  if (about === 'lo') return deleted && text.includes(loLabel) ? 'link' : undefined;
  if (about !== undefined) return about === watched.link || about === watched.underlay ? 'link' : undefined;
  const [first = '', ...words] = text.trim().split(/\s+/);
  const after = (word: string): string | undefined => words[words.indexOf(word) + 1 || words.length];
  if (words.includes('table')) return undefined;
  const mac = after('lladdr');
  const { routes, neighbours, fdb } = watched.wanted;
  const dev = after('dev');
  const permanent = words.includes('PERMANENT');
  if (words.includes('NOARP') && permanent)
    return dev === watched.link && mac !== undefined && fdb.has(mac) && (deleted || fdb.get(mac) !== first)
      ? 'entries'
      : undefined;
  if (dev === watched.link && neighbours.has(first))
    return deleted || !permanent || neighbours.get(first) !== mac ? 'entries' : undefined;
  const via = routes.get(netText(first));
  if (via === undefined) return undefined;
  const ours = dev === (watched.link ?? watched.underlay) && after('proto') === String(routeProtocol);
  if (deleted) return ours ? 'entries' : undefined;
  return ours && (after('via') ?? '') === via ? undefined : 'entries';
}

export interface MonitorOptions {
  readonly onLine: (line: string) => void;
  /** It ended, or lost lines: anything may have changed. */
  readonly onGap: (why: string) => void;
}

/** Starts it; gives how to end it. It ends with this process, too. */
export async function startMonitor({ onLine, onGap }: MonitorOptions): Promise<() => void> {
  const argv = ['ip', '-o', 'monitor', 'link', 'address', 'route', 'neigh'] as const;
  const guarded = findProgram('setpriv') ? (['setpriv', '--pdeathsig', 'KILL', ...argv] as const) : argv;
  const session = await openSession({ argv: [...guarded], tty: false, stdin: false });
  let stopped = false;
  let rest = '';
  session.onStdout((chunk) => {
    const lines = (rest + chunk.toString('utf8')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
  session.onStderr((chunk) => onGap(chunk.toString('utf8').trim()));
  void session.exit.then((code) => {
    if (!stopped) onGap(`ip monitor ended (${code})`);
  });
  return () => {
    stopped = true;
    session.kill();
  };
}
