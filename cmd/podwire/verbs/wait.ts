// `podwire wait`: returns when a condition holds for every chosen object, or when the time is over.
// Assumes conditions as Kubernetes writes them. One watch an object, all at once.
import type { ApiObject } from '../../../lib/api/types.ts';
import { type Context, untilInterrupted } from '../context.ts';
import { parseDuration } from '../duration.ts';
import { ExitWith, UsageError } from '../errors.ts';
import { waitUntil } from '../follow.ts';
import { jsonpathValues } from '../print/jsonpath.ts';
import { type SelectionOptions, select } from '../selection.ts';

export interface WaitOptions extends SelectionOptions {
  for?: string[];
  timeout?: string;
}

type Test = (object: ApiObject | undefined) => boolean;

/** The test that --for describes: `delete`, `create`, `condition=NAME[=VALUE]`, `jsonpath=PATH[=VALUE]`. Pure. */
export function parseCondition(text: string): Test {
  if (text.toLowerCase() === 'delete') return (object) => object === undefined;
  if (text.toLowerCase() === 'create') return (object) => object !== undefined;
  if (text.startsWith('condition=')) {
    const [name = '', value = 'true'] = text.slice('condition='.length).split('=');
    if (name !== '') return (object) => conditionStatus(object, name) === value.toLowerCase();
  }
  const path = /^jsonpath=['"]?(\{.*\})['"]?(?:=(.*))?$/s.exec(text);
  if (path) {
    const [, template, value] = path;
    jsonpathValues(template!, {});
    return (object) => {
      const [found] = object ? jsonpathValues(template!, object) : [];
      return value === undefined ? found !== undefined : String(found ?? '') === value;
    };
  }
  throw new UsageError(
    `unrecognized condition: "${text}": expected delete, create, condition=NAME[=VALUE] or jsonpath={.path}[=VALUE]`,
  );
}

function conditionStatus(object: ApiObject | undefined, name: string): string | undefined {
  const { status } = (object ?? {}) as { status?: { conditions?: Array<{ type: string; status: string }> } };
  return status?.conditions
    ?.find((each) => each.type.toLowerCase() === name.toLowerCase())
    ?.status.toLowerCase();
}

export async function runWait(
  context: Context,
  args: readonly string[],
  options: WaitOptions,
): Promise<void> {
  if (!options.for || options.for.length === 0)
    throw new UsageError('--for is needed, e.g. --for=condition=Ready');
  const tests = options.for.map(parseCondition);
  const missingIsFine = options.for.every((each) => /^(delete|create)$/i.test(each));
  const timeout = parseDuration(options.timeout ?? '30s', '--timeout');
  const client = await context.client();
  const chosen = await select(context, client, args, options);
  if (chosen.length === 0) throw new UsageError('no matching resources found');
  const deadline = timeout < 0 ? Date.now() + 7 * 24 * 3_600_000 : Date.now() + timeout;
  const signal = untilInterrupted();
  const waits = chosen.map(async (target) => {
    if (!missingIsFine)
      await client.get(target.info.resource, { namespace: target.namespace, name: target.name });
    const outcome = await waitUntil({ client, target, deadline, signal }, (object) =>
      tests.every((test) => test(object)),
    );
    if (outcome === 'met') context.out(`${target.info.singular}/${target.name} condition met\n`);
    if (outcome === 'timeout')
      context.err(`error: timed out waiting for the condition on ${target.info.resource}/${target.name}\n`);
    return outcome;
  });
  const outcomes = await Promise.all(waits);
  if (signal.aborted) throw new ExitWith(130);
  if (outcomes.some((outcome) => outcome !== 'met')) throw new ExitWith(1);
}
