// `npm run demo`: two Pods from nothing, a page fetched from one by the other, and a picture of what the kernel now has.
// Assumes root and scripts/setup.mjs. May be run again at any time; leaves the Pods running.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { HttpClient } from '../lib/api/http/client.ts';
import { cellsOf } from '../lib/api/table.ts';
import type { Pod } from '../lib/api/types.ts';
import { nodePaths } from '../lib/kernel/paths.ts';
import { drawNetwork, lookAtNetwork } from './picture.ts';

const repo = join(import.meta.dirname, '..');
const podwire = join(repo, 'bin/podwire');
const client = new HttpClient({ socketPath: nodePaths().socket });
const names = ['web', 'client'];
const limitMs = 60_000;

const bold = (text: string): string =>
  process.stdout.isTTY && !process.env.NO_COLOR ? `\u001b[1m${text}\u001b[0m` : text;
const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function main(): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new Error('the demo makes namespaces and links: please run it as root (sudo npm run demo)');
  title('1. The daemon');
  await command('up');
  title('2. Two Pods: web (a server and a writer that share a folder) and client');
  await removeEnded();
  await command('apply', '-f', 'examples/web.yaml', '-f', 'examples/client.yaml');
  await ready();
  title('3. The page, fetched from Pod to Pod by Pod IP');
  await fetchPage((await client.get('pods', { namespace: 'default', name: 'web' })).status?.podIP ?? '');
  title('4. What Kubernetes would tell');
  await command('get', 'pods', '-o', 'wide');
  title('5. What the kernel tells');
  const network = await lookAtNetwork();
  if (!network) throw new Error('the kernel shows no Pod on a bridge');
  say(drawNetwork(network));
  say(whatNow);
}

const whatNow = `${bold('To look further')} (bin/podwire; put bin/ into PATH, or link it)
  bin/podwire describe pod web          events, and where the start-up time went
  bin/podwire logs -f web               who fetched the page
  bin/podwire exec -it client -- bash   a shell inside
  bin/podwire explain pod/web           the ip and nft commands behind its network
${bold('To take it down')}
  bin/podwire delete -f examples/web.yaml -f examples/client.yaml
  bin/podwire down --pods               every Pod and every kernel object, and the daemon`;

const title = (text: string): void => say(`\n${bold(text)}`);

/** Shows a command of the CLI and runs it; its failure is the demo's. */
function command(...args: string[]): Promise<void> {
  say(`$ podwire ${args.join(' ')}`);
  const child = spawn(podwire, args, { cwd: repo, stdio: ['ignore', 'inherit', 'inherit'] });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`podwire ${args[0]} ended with exit code ${code}`)),
    );
  });
}

/** A demo Pod that has come to its end, or is on its way out, is in the way of a new one. */
async function removeEnded(): Promise<void> {
  const { items } = await client.list('pods', { namespace: 'default' });
  const ended = items.filter(
    ({ metadata, status }) =>
      names.includes(metadata.name) &&
      (metadata.deletionTimestamp || status?.phase === 'Failed' || status?.phase === 'Succeeded'),
  );
  if (ended.length > 0) await command('delete', 'pod', ...ended.map((pod) => pod.metadata.name));
}

/** Follows the Pods and prints each change, until both are Ready. */
async function ready(): Promise<void> {
  const started = performance.now();
  const waiting = new Map(names.map((name) => [name, '']));
  const signal = AbortSignal.timeout(limitMs);
  for await (const event of client.watch('pods', { namespace: 'default', signal })) {
    if (event.type === 'BOOKMARK') continue;
    const pod = event.object;
    const before = waiting.get(pod.metadata.name);
    if (before === undefined) continue;
    const [, count, word] = cellsOf('pods', pod, Date.now());
    const now = `${word} ${count}`;
    const after = `${((performance.now() - started) / 1000).toFixed(2)} s`;
    if (now !== before)
      say(`  ${after.padStart(7)}  ${pod.metadata.name.padEnd(7)} ${word} (${count} ready)`);
    waiting.set(pod.metadata.name, now);
    if (isReady(pod)) waiting.delete(pod.metadata.name);
    if (waiting.size === 0) return;
  }
  for (const name of waiting.keys()) await command('describe', 'pod', name);
  throw new Error(`not Ready after ${limitMs / 1000} s: ${[...waiting.keys()].join(', ')}`);
}

const isReady = (pod: Pod): boolean =>
  pod.status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True') === true;

/** bash can open a TCP connection by itself; the server may need a moment for its first page. */
async function fetchPage(address: string): Promise<void> {
  const get = `exec 3<>/dev/tcp/${address}/8080 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3`;
  const script = `for try in {1..50}; do (${get}) 2>/dev/null && exit; sleep 0.1; done; ${get}`;
  say(`$ podwire exec client -- bash -c "${get}"`);
  const remote = await client.exec(
    { namespace: 'default', name: 'client' },
    { command: ['bash', '-c', script] },
  );
  let page = '';
  remote.onStdout((chunk) => {
    page += chunk;
  });
  remote.onStderr((chunk) => process.stderr.write(chunk));
  const code = await remote.exit;
  say(page.trimEnd().replaceAll('\r', '').replace(/^/gm, '  '));
  if (code !== 0 || !/^Hello from Pod web\./m.test(page))
    throw new Error(`the page did not come (exit code ${code})`);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  client.close();
}
