// The event recorder while nobody takes events.
import { pino } from 'pino';
import t from 'tap';
import type { Client } from '../../../lib/api/client.ts';
import { EventRecorder } from '../../../lib/api/events.ts';
import type { Pod } from '../../../lib/api/types.ts';

t.test('what waits for a server is bounded, and goes on when it answers', async (t) => {
  const written: string[] = [];
  let answer = (): void => {};
  const answers = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const client = {
    create: async (_resource: string, event: { message: string }) => {
      await answers;
      written.push(event.message);
      return event;
    },
  } as unknown as Client;
  const events = new EventRecorder(client, { component: 'kubelet' }, pino({ enabled: false }));
  const pod = {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: { name: 'a', namespace: 'default', uid: 'u' },
  } as Pod;
  const tell = (message: string): void => events.record(pod, { type: 'Normal', reason: 'Tested', message });
  for (let at = 0; at < 5000; at++) tell(String(at));
  answer();
  await events.flush();
  t.equal(written.length, 1000);
  t.strictSame(written.slice(0, 2), ['0', '1'], 'in order');
  tell('later');
  await events.flush();
  t.equal(written.at(-1), 'later');
});
