// `podwire up`: starts podwired in the background and returns when it is ready.
import type { Context } from '../context.ts';
import { type DaemonFlags, health, socketOwner, startedText, startPodwired, waitsFor } from '../daemon.ts';

export async function runUp(context: Context, flags: DaemonFlags): Promise<void> {
  const found = await health(context);
  const waiting = found === 'starting' ? await waitsFor(context) : undefined;
  if (found === 'ready' || waiting !== undefined) {
    const pid = socketOwner(context.socket)?.pid;
    context.out(`podwired is already running${pid ? ` (pid ${pid})` : ''} on ${context.socket}\n`);
    if (waiting !== undefined) context.err(`it waits for its servers: ${waiting}\n`);
    if (Object.keys(flags).length > 0)
      context.err('its flags count only at its start: podwire down && podwire up …\n');
    return;
  }
  if (process.stderr.isTTY) context.err('podwired is starting …\n');
  context.out(startedText(await startPodwired(context, flags), context.socket));
}
