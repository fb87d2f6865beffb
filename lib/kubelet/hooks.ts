// Lifecycle hooks: postStart right after a container has begun, preStop before it is asked to end.
// Assumes the caller bounds them by a signal; a hook has no time limit of its own. One process or one request a hook.
// Source: kubelet's lifecycle/handlers.go: exec must exit with 0, of httpGet any answer will do.
import { setTimeout as sleep } from 'node:timers/promises';
import { findContainer } from '../api/pod-containers.ts';
import type { LifecycleHandler } from '../api/types.ts';
import type { RuntimeService } from '../container/cri.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';
import type { PreStop } from './container-stopper.ts';
import { type HandlerSubject, httpTarget } from './handlers.ts';
import { podAddress, type SyncContext } from './sync-context.ts';

/** What the container wrote is left out: it may hold secrets, and events are for everybody. */
export class HookError extends PodwireError {
  constructor(message: string) {
    super('HOOK_FAILED', message);
  }
}

const longestMs = 2 ** 31 - 1;

/** @throws HookError also when the signal ended it */
export async function runHook(
  runtime: RuntimeService,
  handler: LifecycleHandler,
  subject: HandlerSubject,
  signal: AbortSignal,
): Promise<void> {
  const { exec, httpGet, sleep: pause } = handler;
  try {
    if (exec) await runCommand(runtime, exec.command ?? [], subject, signal);
    else if (httpGet) {
      const { getHttp } = await import('../probe/http.ts');
      await getHttp({ ...httpTarget(httpGet, subject), timeoutMs: longestMs, signal });
    } else if (pause) await sleep(pause.seconds * 1000, undefined, { signal });
  } catch (error) {
    if (signal.aborted) throw new HookError('it was not over in time');
    throw error instanceof HookError ? error : new HookError(messageOf(error));
  }
}

async function runCommand(
  runtime: RuntimeService,
  words: readonly string[],
  { containerId }: HandlerSubject,
  signal: AbortSignal,
): Promise<void> {
  const argv = words as [string, ...string[]]; // as it stands: only a probe's command has its $(NAME) replaced
  const { exitCode } = await runtime.execSync(containerId, { argv, timeoutMs: longestMs, signal });
  if (exitCode !== 0) throw new HookError(`command ${JSON.stringify(argv[0])} exited with ${exitCode}`);
}

/** Runs preStop hooks; one that fails is told as an event and keeps nothing from ending. */
export function preStopWith(context: Pick<SyncContext, 'runtime' | 'events' | 'node'>): PreStop {
  return async (pod, { id, name }, signal) => {
    const container = findContainer(pod.spec, name);
    const hook = container?.lifecycle?.preStop;
    if (!container || !hook) return;
    const subject = { container, containerId: id, podIP: podAddress(context, pod) };
    try {
      await runHook(context.runtime, hook, subject, signal);
    } catch (error) {
      const message = `PreStopHook failed: ${messageOf(error)}`;
      context.events.record(pod, { type: 'Warning', reason: 'FailedPreStopHook', message, container: name });
    }
  };
}
