// How a podwired is waited for that has just been started: until it is ready, waits for its servers, has died or takes too long.
// Assumes nothing of time: what is seen of it, and how long it may take, is told.
import t from 'tap';
import { type Health, type Looks, untilStarted } from '../../../cmd/podwire/daemon.ts';

interface Case {
  readonly name: string;
  /** What each look finds; the last one lasts. */
  readonly seen: readonly Health[];
  readonly waiting?: string;
  /** How it has ended. */
  readonly death?: number | string;
  readonly timeoutMs?: number;
  readonly wanted: object;
}

const cases: readonly Case[] = [
  { name: 'ready', seen: ['absent', 'starting', 'ready'], wanted: { pid: 7, waiting: undefined } },
  {
    name: 'an agent whose servers do not answer',
    seen: ['starting'],
    waiting: 'no server',
    wanted: { pid: 7, waiting: 'no server' },
  },
  {
    name: 'ended by itself',
    seen: ['absent'],
    death: 3,
    wanted: { code: 'DAEMON_DIED', message: /^podwired ended at its start \(exit code 3\); its log$/ },
  },
  {
    name: 'ended by a signal',
    seen: ['absent'],
    death: 'SIGKILL',
    wanted: { code: 'DAEMON_DIED', message: /\(SIGKILL\); its log$/ },
  },
  {
    name: 'too slow',
    seen: ['starting'],
    timeoutMs: -1,
    wanted: { code: 'DAEMON_SLOW', message: /\(pid 7\) is not ready .*podwire down ends it; its log$/ },
  },
];

for (const { name, seen, waiting, death, timeoutMs, wanted } of cases)
  t.test(name, async (t) => {
    let looks = 0;
    const look: Looks = {
      health: async () => seen[Math.min(looks++, seen.length - 1)] as Health,
      waitsFor: async () => waiting,
      logEnd: () => '; its log',
    };
    let released = 0;
    const ended = new Promise<number | string>((end) => death !== undefined && end(death));
    const child = { pid: 7, ended, release: () => released++ };
    const came = await untilStarted(child, look, timeoutMs).catch((error: unknown) => error);
    t.match(came, wanted);
    t.equal(released, 1, 'it keeps the CLI from ending no longer');
  });
