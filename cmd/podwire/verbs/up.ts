// `podwire up`: starts podwired in the background and returns when it is ready.
import type { Context } from '../context.ts';
import { type DaemonFlags, health, socketOwner, startPodwired } from '../daemon.ts';

export async function runUp(context: Context, flags: DaemonFlags): Promise<void> {
  if ((await health(context)) === 'ready') {
    const pid = socketOwner(context.socket)?.pid;
    context.out(`podwired is already running${pid ? ` (pid ${pid})` : ''} on ${context.socket}\n`);
    if (Object.keys(flags).length > 0)
      context.err('its flags count only at its start: podwire down && podwire up …\n');
    return;
  }
  if (process.stderr.isTTY) context.err('podwired is starting …\n');
  const { pid, ms } = await startPodwired(context, flags);
  context.out(`podwired is ready after ${(ms / 1000).toFixed(2)} s (pid ${pid}) on ${context.socket}\n`);
}
