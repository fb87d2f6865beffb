// `podwire debug`: puts an ephemeral container into a Pod that runs, with tools that its image lacks, and joins it.
// Assumes pods/ephemeralcontainers; such a container stays in the Pod's spec, and is never restarted.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { statusOfContainer } from '../../../lib/api/pod-containers.ts';
import type { ContainerState } from '../../../lib/api/types.ts';
import { PodwireError } from '../../../lib/exec/errors.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { podName } from '../resources.ts';
import { runAttach } from './attach.ts';
import { runLogs } from './logs.ts';

export interface DebugOptions {
  image?: string;
  target?: string;
  container?: string;
  stdin?: boolean;
  tty?: boolean;
  attach?: boolean;
  quiet?: boolean;
}

const waitMs = 120_000;
/** With these a pull may still come to an end. */
const hopeful = ['ContainerCreating', 'PodInitializing', ''];

export async function runDebug(
  context: Context,
  args: readonly string[],
  options: DebugOptions,
): Promise<void> {
  const [pod, ...command] = args;
  if (pod === undefined || !options.image)
    throw new UsageError(
      'expected a Pod and an image: podwire debug POD --image=IMAGE [-it] [--target=CONTAINER] [-- COMMAND…]',
    );
  const key = { namespace: context.namespace, name: podName(pod) };
  const name = options.container ?? `debugger-${randomBytes(3).toString('hex')}`;
  const container = {
    name,
    image: options.image,
    ...(command.length > 0 ? { command } : {}),
    ...(options.target ? { targetContainerName: options.target } : {}),
    ...(options.stdin ? { stdin: true } : {}),
    ...(options.tty ? { tty: true } : {}),
  };
  if (!options.quiet) {
    if (options.target) context.err(`Targeting container "${options.target}".\n`);
    if (!options.container) context.err(`Defaulting debug container name to ${name}.\n`);
  }
  const client = await context.client();
  const change = { spec: { ephemeralContainers: [container] } };
  await client.patch('pods', key, change, { type: 'strategic', subresource: 'ephemeralcontainers' });
  if (!(options.attach ?? options.stdin)) return;
  const state = await begun(context, key, name);
  if (state.terminated) await runLogs(context, [key.name], { container: name });
  else await runAttach(context, key.name, { ...options, container: name });
}

/** Waits until it runs or has ended. @throws PodwireError when it cannot begin */
async function begun(
  context: Context,
  key: { namespace: string; name: string },
  container: string,
): Promise<ContainerState> {
  const client = await context.client();
  let reason = '';
  for (const end = Date.now() + waitMs; Date.now() < end; await sleep(100)) {
    const { status } = await client.get('pods', key);
    const state = statusOfContainer(status, container)?.state ?? {};
    if (state.running || state.terminated) return state;
    reason = state.waiting?.reason ?? '';
    if (!hopeful.includes(reason))
      throw new PodwireError(
        'DEBUG_FAILED',
        `container ${container} does not begin: ${reason}: ${state.waiting?.message ?? ''}`,
      );
  }
  throw new PodwireError(
    'DEBUG_FAILED',
    `container ${container} did not begin within ${waitMs / 1000} s (${reason})`,
  );
}
