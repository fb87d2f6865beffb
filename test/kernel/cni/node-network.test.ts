// The node's network in a namespace of its own: forwarding, masquerade, and everything as it was before.
import { join } from 'node:path';
import t from 'tap';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { makeLab } from './fixture.ts';

const child = join(import.meta.dirname, 'node-network-child.ts');

t.test('made twice, removed twice', async (t) => {
  const lab = await makeLab();
  const [a, b] = [nodePaths(join(lab.dir, 'a')), nodePaths(join(lab.dir, 'b'))];
  const node = (verb: string, root: string) =>
    lab.inside(lab.host, [process.execPath, child, verb, root, '10.90.0.0/24']);
  const forwards = (): string => lab.inside(lab.host, ['cat', '/proc/sys/net/ipv4/ip_forward']).trim();
  const tables = (): string[] =>
    lab
      .inside(lab.host, ['nft', 'list', 'tables'])
      .trim()
      .split('\n')
      .filter((line) => line !== '');
  lab.inside(lab.host, ['tee', '/proc/sys/net/ipv4/ip_forward'], '0');

  node('ensure', a.root);
  node('ensure', a.root);
  t.equal(forwards(), '1');
  t.strictSame(tables(), [`table inet podwire-${a.tag}`]);
  const rules = lab.inside(lab.host, ['nft', 'list', 'table', 'inet', `podwire-${a.tag}`]);
  t.equal(rules.match(/masquerade comment "podwire: Pods leave 10\.90\.0\.0\/24/g)?.length, 1);

  node('ensure', b.root);
  node('remove', a.root);
  t.equal(forwards(), '1', 'another node on the machine still forwards');
  lab.inside(lab.host, ['ip', 'link', 'add', 'name', `pw${b.tag}`, 'type', 'bridge']);
  node('remove', b.root);
  t.strictSame(tables(), []);
  t.strictSame(lab.links(), [], 'the bridge went with it');
  node('remove', b.root);
  node('remove', a.root);
  lab.close();
});

t.test('forwarding is put back', async (t) => {
  for (const former of ['0', '1']) {
    const lab = await makeLab();
    const paths = nodePaths(join(lab.dir, 'n'));
    const node = (verb: string) =>
      lab.inside(lab.host, [process.execPath, child, verb, paths.root, '10.90.0.0/24']);
    lab.inside(lab.host, ['tee', '/proc/sys/net/ipv4/ip_forward'], former);
    node('ensure');
    node('ensure');
    node('remove');
    t.equal(lab.inside(lab.host, ['cat', '/proc/sys/net/ipv4/ip_forward']).trim(), former);
    lab.close();
  }
});
