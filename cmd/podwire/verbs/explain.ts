// `podwire explain pod/NAME`: the commands that built this Pod's network, as the daemon knows them; runnable by sh.
import type { Context } from '../context.ts';
import { readText } from '../http.ts';
import { podName } from '../resources.ts';

export async function runExplain(context: Context, target: string): Promise<void> {
  const path = ['/podwire/v1/pods', context.namespace, podName(target), 'explain'];
  const text = await readText(
    context.socket,
    path.map((part, at) => (at === 0 ? part : encodeURIComponent(part))).join('/'),
  );
  context.out(text.endsWith('\n') ? text : `${text}\n`);
}
