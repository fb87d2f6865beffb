// `vagrant up` in vagrant/, as somebody with libvirt does it, down to `vagrant destroy`.
import { join } from 'node:path';
import t from 'tap';
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

t.test('one cluster', { bail: true }, async (t) => {
  const answer = await vagrant.root(
    'node1',
    'podwire wait node --all --for condition=Ready --timeout 60s && podwire get nodes -o wide',
  );
  t.comment(answer);
  for (const node of nodes) t.match(answer, new RegExp(`^${node} +Ready `, 'm'));
  t.match(answer, /192\.168\.56\.11.*192\.168\.56\.12/s, 'each by its address on the private network');
});

t.test('Pod to Pod across', async (t) => {
  const manifest = JSON.stringify({
    apiVersion: 'v1',
    kind: 'List',
    items: pods.map(({ name, node }) => echoPod(name, node)),
  });
  await vagrant.root(
    'node1',
    `podwire apply -f - <<'EOF' && podwire wait pod --all --for condition=Ready --timeout 60s\n${manifest}\nEOF`,
  );
  const { items } = JSON.parse(await vagrant.root('node1', 'podwire get pods -o json')) as { items: Pod[] };
  const address = (name: string): string =>
    items.find(({ metadata }) => metadata.name === name)?.status?.podIP ?? '';
  for (const from of pods)
    for (const to of pods.filter((each) => each !== from)) {
      const said = await vagrant.root(
        'node1',
        `podwire exec ${from.name} -- ping -c 3 -W 2 ${address(to.name)}`,
      );
      t.match(
        said,
        / 0% packet loss/,
        `${from.name} (${address(from.name)}) to ${to.name} (${address(to.name)})`,
      );
    }
});

t.test('vagrant destroy leaves nothing', async (t) => {
  await timed('vagrant destroy', () => vagrant.out(['destroy', '-f']));
  t.equal(await virsh('list', '--all', '--name'), '', 'no VM');
});
