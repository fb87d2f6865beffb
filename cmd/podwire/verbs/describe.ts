// `podwire describe`: fetches an object and what belongs to it, and hands them to the pure printers.
// Assumes events name their object by kind, name and uid. Two list calls an object.
import type { Client } from '../../../lib/api/client.ts';
import type { Event } from '../../../lib/api/types.ts';
import type { Context } from '../context.ts';
import { UsageError } from '../errors.ts';
import { describeConfigMap, describeSecret } from '../print/describe-data.ts';
import { describeNamespace, describeNode } from '../print/describe-node.ts';
import { describePod } from '../print/describe-pod.ts';
import { parseTargets } from '../resources.ts';
import { type Selected, type SelectionOptions, select } from '../selection.ts';

export async function runDescribe(
  context: Context,
  args: readonly string[],
  options: SelectionOptions,
): Promise<void> {
  const client = await context.client();
  const named =
    options.filename !== undefined || parseTargets(args).every((target) => target.name !== undefined);
  const chosen = await select(context, client, args, named ? options : { ...options, all: true });
  if (chosen.length === 0) context.err(`No resources found in ${context.namespace} namespace.\n`);
  let first = true;
  for (const target of chosen) {
    const text = await describeOne(client, target);
    context.out(`${first ? '' : '\n\n'}${text}`);
    first = false;
  }
}

async function describeOne(client: Client, { info, namespace, name }: Selected): Promise<string> {
  const now = Date.now();
  if (info.resource === 'pods') {
    const pod = await client.get('pods', { namespace, name });
    return describePod(
      pod,
      await eventsOf(client, { kind: 'Pod', name, namespace, uid: pod.metadata.uid }),
      now,
    );
  }
  if (info.resource === 'nodes') {
    const node = await client.get('nodes', { name });
    const { items } = await client.list('pods', { fieldSelector: `spec.nodeName=${name}` });
    const pods = items.filter((pod) => pod.status?.phase !== 'Succeeded' && pod.status?.phase !== 'Failed');
    return describeNode(node, { pods, events: await eventsOf(client, { kind: 'Node', name }), now });
  }
  if (info.resource === 'namespaces') return describeNamespace(await client.get('namespaces', { name }));
  if (info.resource === 'configmaps')
    return describeConfigMap(await client.get('configmaps', { namespace, name }));
  if (info.resource === 'secrets') return describeSecret(await client.get('secrets', { namespace, name }));
  throw new UsageError(
    `describe knows pods, nodes, namespaces, configmaps and secrets; for ${info.resource} use: podwire get ${info.resource} -o yaml`,
  );
}

async function eventsOf(
  client: Client,
  about: { kind: string; name: string; namespace?: string | undefined; uid?: string },
): Promise<Event[]> {
  const selector = [`involvedObject.kind=${about.kind}`, `involvedObject.name=${about.name}`];
  if (about.uid) selector.push(`involvedObject.uid=${about.uid}`);
  const { items } = await client.list('events', {
    namespace: about.namespace,
    fieldSelector: selector.join(','),
  });
  return items;
}
