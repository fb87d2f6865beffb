// Events at the foot of a description, oldest first, repeated ones folded as the server counted them. Pure.
import { age } from '../../../lib/api/durations.ts';
import type { Event } from '../../../lib/api/types.ts';
import { renderTable } from './text.ts';

export function renderEvents(events: readonly Event[], now: number): string {
  if (events.length === 0) return 'Events:  <none>\n';
  // Times are whole seconds: within one, the order of the writes decides.
  const order = (event: Event): [number, number] => [
    Date.parse(lastSeen(event) ?? ''),
    Number(event.metadata.resourceVersion),
  ];
  const sorted = events.toSorted((a, b) => order(a)[0] - order(b)[0] || order(a)[1] - order(b)[1]);
  const rows = sorted.map((event) => [
    event.type ?? 'Normal',
    event.reason ?? '',
    eventAge(event, now),
    event.source?.component ?? event.reportingComponent ?? '',
    (event.message ?? '').trim().replaceAll('\n', ' '),
  ]);
  const table = renderTable(['Type', 'Reason', 'Age', 'From', 'Message'], [rule, ...rows]);
  return `Events:\n${table.replace(/^(?=.)/gm, '  ')}`;
}

const rule = ['----', '------', '---', '----', '-------'];

export function lastSeen(event: Event): string | undefined {
  return event.lastTimestamp ?? event.eventTime ?? event.firstTimestamp ?? event.metadata.creationTimestamp;
}

/** `12s`, or `3s (x4 over 40s)` for one that was seen several times. */
export function eventAge(event: Event, now: number): string {
  const last = age(lastSeen(event), now);
  if ((event.count ?? 1) <= 1) return last;
  return `${last} (x${event.count} over ${age(event.firstTimestamp ?? event.metadata.creationTimestamp, now)})`;
}
