// macvlan, vxlan and bridge's macspoofchk, killed before and after each program they start in an ADD (`ip` all the way, so
// that there are many): DEL and GC leave nothing behind, and a new ADD works. kill.test.ts does the same for the others.
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ExecError } from '../../../lib/exec/errors.ts';
import { findProgram } from '../../../lib/exec/find-program.ts';
import { until } from '../../until.ts';
import { bridgeConf, type Conf, type Lab, makeLab } from './fixture.ts';

t.setTimeout(200_000);

const ipam = (lab: Lab) => ({
  type: 'host-local',
  dataDir: join(lab.dir, 'leases'),
  ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]],
});
const confs: Array<[string, (lab: Lab) => Conf]> = [
  ['macspoofchk', (lab) => bridgeConf(lab, { macspoofchk: true, ipam: ipam(lab) })],
  [
    'macvlan',
    (lab) => ({ cniVersion: '1.1.0', name: 'net', type: 'macvlan', master: 'eth0', ipam: ipam(lab) }),
  ],
  [
    'vxlan',
    (lab) => ({
      cniVersion: '1.1.0',
      name: 'net',
      type: 'vxlan',
      node: 'n1',
      bridge: 'br0',
      ipMasq: true,
      peers: [{ node: 'n2', publicIP: '192.0.2.2', subnets: ['10.89.0.0/24', 'fd00:89::/64'] }],
      ipam: ipam(lab),
    }),
  ],
];

/** Programs of those names, first in PATH, that kill the plugin: odd n before run (n+1)/2 of any of them, even n after. */
function wrap(lab: Lab, n: number): string {
  const dir = join(lab.dir, 'wrap');
  mkdirSync(dir, { recursive: true });
  for (const name of ['ip', 'bridge', 'nft', 'nsenter']) {
    const text = `#!/bin/sh
count=$(($(cat ${dir}/count) + 1)); echo $count > ${dir}/count
[ $count = ${(n + 1) / 2} ] && kill -KILL $PPID
PATH=\${PATH#${dir}:} ${findProgram(name)} "$@"; code=$?
[ $count = ${n / 2} ] && kill -KILL $PPID
echo >> ${dir}/ended
exit $code
`;
    writeFileSync(join(dir, name), text);
    chmodSync(join(dir, name), 0o755);
  }
  writeFileSync(join(dir, 'count'), '0');
  writeFileSync(join(dir, 'ended'), '');
  return `${dir}:${process.env.PATH}`;
}

/** True where it was killed; what it had started has ended, too. */
async function struckAdd(lab: Lab, conf: Conf, call: { netns: string; n: number }): Promise<boolean> {
  const killed = await isKilled(lab, conf, call);
  const text = (name: string): string => readFileSync(join(lab.dir, 'wrap', name), 'utf8');
  const haveEnded = await until(() => text('ended').length === Number(text('count')));
  if (!haveEnded) throw new Error('a wrapped program does not end');
  return killed;
}

async function isKilled(lab: Lab, conf: Conf, call: { netns: string; n: number }): Promise<boolean> {
  const { netns, n } = call;
  try {
    const { ok, json } = await lab.call('ADD', conf, {
      netns,
      env: { PATH: wrap(lab, n), PODWIRE_NET: 'ip' },
    });
    if (!ok) throw new Error(`ADD failed, though it was not killed: ${json.msg}`);
    return false;
  } catch (error) {
    if (error instanceof ExecError && error.signal === 'SIGKILL') return true;
    if (error instanceof Error && /no error object/.test(error.message)) return true; // ip passes on 137
    if (error instanceof ExecError && error.exitCode === 137) return true;
    throw error;
  }
}

function remains(lab: Lab, netns: string): string[] {
  const rules = lab.inside(lab.host, ['nft', 'list', 'ruleset']).split('\n');
  return [
    ...lab.links().filter((name) => name !== 'eth0' && name !== 'br0'),
    ...lab
      .ip(netns, 'link', 'show')
      .map((link: { ifname: string }) => `inside: ${link.ifname}`)
      .filter((name: string) => name !== 'inside: lo'),
    ...lab.leases('net'),
    ...rules.filter((line) => /veth|10\.88\.0\.[2-9]|fd00:88::[2-9]/.test(line)),
  ];
}

for (const [name, confOf] of confs)
  t.test(name, async (t) => {
    const lab = await makeLab();
    lab.inside(
      lab.host,
      ['ip', '-batch', '-'],
      'link add eth0 type veth peer name far0\naddr add 192.0.2.1/24 dev eth0\nlink set eth0 up\nlink set far0 up\n',
    );
    lab.inside(lab.host, ['ip', 'link', 'set', 'far0', 'netns', lab.container()]);
    const conf = confOf(lab);
    let n = 1;
    for (let killed = true; killed && n < 100; n++) {
      const netns = lab.container();
      killed = await struckAdd(lab, conf, { netns, n });
      t.ok((await lab.call('DEL', conf, { netns })).ok, `${n}: DEL`);
      t.ok((await lab.call('GC', { ...conf, 'cni.dev/valid-attachments': [] })).ok, 'GC');
      t.strictSame(remains(lab, netns), [], `${n}: nothing is left`);
      lab.removeContainer(netns);
    }
    t.ok(n > 5 && n < 100, `killed at ${n - 2} points`);
    lab.close();
  });
