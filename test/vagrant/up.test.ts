// `vagrant up` in vagrant/, as somebody with libvirt does it, down to `vagrant destroy`.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { run } from '../../lib/exec/exec.ts';
import { echoPod } from '../vm/echo-pod.ts';
import { startLibvirt } from './libvirt.ts';
import { told, Vagrant } from './vagrant.ts';

const nodes = ['node1', 'node2'];
const libvirtd = await startLibvirt(join(told('folder'), 'libvirt'));
t.teardown(() => libvirtd.kill('SIGTERM'));
const vagrant = new Vagrant(told('folder'), {
  PODWIRE_NODES: String(nodes.length),
  PODWIRE_CPUS: '1',
  PODWIRE_MEMORY: '1024',
});
const virsh = async (...args: string[]): Promise<string> =>
  (await run({ argv: ['virsh', '-q', ...args] })).stdout.trim();
/** Of all that Vagrant says: what it begins, and errors. */
const step =
  /Starting domain|booted and ready|Rsyncing|network interfaces|provisioner|podwire: |setup: |build: |[Ee]rror/;
/** Runs something and says how long it took. */
async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const result = await work();
  t.comment(`${what}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return result;
}

t.test('vagrant up', { bail: true }, async (t) => {
  await timed('vagrant validate', () => vagrant.out(['validate']));
  await timed('vagrant box add', () => vagrant.addBox(told('box')));
  await timed('vagrant up', () =>
    vagrant.out(['up', '--no-tty'], (line) => step.test(line) && t.comment(line)),
  );
  t.same((await virsh('list', '--name')).split('\n').length, nodes.length, 'as many VMs as asked for');
});

/** A Pod on each node, that answers. */
const pods = nodes.map((node) => ({ name: `echo-${node}`, node }));

async function nodesAreReady(t: Test): Promise<void> {
  const wait = 'podwire wait node --all --for condition=Ready --timeout 300s';
  const answer = await vagrant.root('node1', `${wait} && podwire get nodes -o wide`);
  t.comment(answer);
  for (const node of nodes) t.match(answer, new RegExp(`^${node} +Ready `, 'm'));
  t.match(answer, /192\.168\.56\.11.*192\.168\.56\.12/s, 'each by its address on the private network');
}

async function podsReachEachOther(t: Test): Promise<void> {
  const items = pods.map(({ name, node }) => echoPod(name, node));
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
  const answer = await vagrant.root(
    'node1',
    `podwire apply -f - >&2 <<'EOF' && podwire wait pod --all --for condition=Ready --timeout 300s >&2 && podwire get pods -o json\n${list}\nEOF`,
  );
  const running = (JSON.parse(answer) as { items: Pod[] }).items;
  const address = (name: string): string =>
    running.find(({ metadata }) => metadata.name === name)?.status?.podIP ?? '';
  for (const from of pods)
    for (const to of pods.filter((each) => each !== from)) {
      const ping = `podwire exec ${from.name} -- ping -c 3 -W 2 ${address(to.name)}`;
      const way = `${from.name} (${address(from.name)}) to ${to.name} (${address(to.name)})`;
      t.match(await vagrant.root('node1', ping), / 0% packet loss/, way);
    }
}

t.test('one cluster', { bail: true }, async (t) => {
  await nodesAreReady(t);
  await timed('Pods reach each other', () => podsReachEachOther(t));
});

t.test('a node is destroyed and made anew', async (t) => {
  await timed('vagrant destroy node2', () => vagrant.out(['destroy', '-f', 'node2']));
  t.notMatch(await vagrant.root('node1', 'podwire get nodes'), /node2/, 'the cluster knows that it is gone');
  await timed('vagrant up node2', () => vagrant.out(['up', '--no-tty', 'node2']));
  await nodesAreReady(t);
  await podsReachEachOther(t);
});

t.test('vagrant destroy leaves nothing', async (t) => {
  await timed('vagrant destroy', () => vagrant.out(['destroy', '-f']));
  t.equal(await virsh('list', '--all', '--name'), '', 'no VM');
});
