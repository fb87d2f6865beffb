// `vagrant up` in vagrant/, as somebody with libvirt does it, down to `vagrant destroy`.
import { join } from 'node:path';
import t from 'tap';
import { run } from '../../lib/exec/exec.ts';
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

t.test('podwire in each node', async (t) => {
  for (const node of nodes) t.match(await vagrant.root(node, 'podwire get nodes'), node);
});

t.test('vagrant destroy leaves nothing', async (t) => {
  await timed('vagrant destroy', () => vagrant.out(['destroy', '-f']));
  t.equal(await virsh('list', '--all', '--name'), '', 'no VM');
});
