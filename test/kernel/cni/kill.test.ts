// A plugin that is killed, at every point where it changes something or starts a process: DEL and GC leave nothing behind.
// Two ways to strike: strace, which kills at the n-th system call that changes something; and programs put first in PATH
// (ip, nft, tc) that kill the plugin before or after their n-th run. A row ends where the plugin gets through unharmed.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { plugins as registry } from '../../../cni-plugins/registry.ts';
import { ExecError } from '../../../lib/exec/errors.ts';
import { findProgram } from '../../../lib/exec/find-program.ts';
import { until } from '../../until.ts';
import { bridgeConf, type Conf, type Lab, makeLab } from './fixture.ts';

t.setTimeout(280_000);

interface Scenario {
  readonly name: string;
  readonly type: string;
  readonly conf: (lab: Lab) => Conf;
  /** A chained plugin works on what this one made. */
  readonly on?: (lab: Lab) => Conf;
  readonly env?: Record<string, string>;
  /** What is killed; ADD unless told. */
  readonly verb?: 'DEL' | 'GC';
}

const ipam = (lab: Lab) => ({
  type: 'host-local',
  dataDir: join(lab.dir, 'leases'),
  ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]],
  routes: [{ dst: '0.0.0.0/0' }],
});
const bridge = (lab: Lab): Conf => bridgeConf(lab, { ipMasq: true, ipam: ipam(lab) });
const plain = (lab: Lab): Conf =>
  bridgeConf(lab, { name: 'below', ipam: { ...ipam(lab), ranges: [[{ subnet: '10.89.0.0/24' }]] } });
const chained = (type: string, more: object) => (): Conf => ({
  cniVersion: '1.1.0',
  name: 'net',
  type,
  ...more,
});

const scenarios: Scenario[] = [
  { name: 'bridge, host-local, masquerade', type: 'bridge', conf: bridge },
  {
    name: 'ptp',
    type: 'ptp',
    conf: (lab) => ({ cniVersion: '1.1.0', name: 'net', type: 'ptp', ipMasq: true, ipam: ipam(lab) }),
  },
  {
    name: 'portmap',
    type: 'portmap',
    on: plain,
    conf: chained('portmap', {
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'udp' }] },
    }),
  },
  { name: 'firewall', type: 'firewall', on: plain, conf: chained('firewall', { ingressPolicy: 'isolated' }) },
  {
    name: 'tuning',
    type: 'tuning',
    on: plain,
    conf: (lab) => ({
      cniVersion: '1.1.0',
      name: 'net',
      type: 'tuning',
      sysctl: { 'net.core.somaxconn': '500' },
      mtu: 1300,
      dataDir: join(lab.dir, 'tuning'),
    }),
  },
  {
    name: 'bandwidth',
    type: 'bandwidth',
    on: plain,
    conf: chained('bandwidth', { ingressRate: 8e6, ingressBurst: 8e5, egressRate: 8e6, egressBurst: 8e5 }),
  },
];

// ptp goes the bridge's way here: the same pair, the same masquerade, the same IPAM.
const undone: Scenario[] = scenarios
  .filter(({ type }) => type !== 'ptp')
  .flatMap((one) => [
    { ...one, name: `DEL of ${one.name}`, verb: 'DEL' as const },
    ...(one.type === 'bridge' ? [{ ...one, name: `GC of ${one.name}`, verb: 'GC' as const }] : []),
  ]);

/** What is there beside the bridge. */
function remains(lab: Lab): string[] {
  const leases = lab.leases('net').map((ip) => `lease ${ip}`);
  const links = lab.links().filter((name) => name !== 'br0');
  const folder = join(lab.dir, 'leases/net/.podwire');
  const records = existsSync(folder) ? readdirSync(folder).filter((name) => name !== 'boot') : [];
  const kept = existsSync(join(lab.dir, 'tuning')) ? readdirSync(join(lab.dir, 'tuning')) : [];
  const rules = lab.inside(lab.host, ['nft', 'list', 'ruleset']).split('\n');
  const ours = rules.filter((line) => /victim|10\.88\.0\.[2-9]|fd00:88::[2-9]|dport 8080/.test(line));
  const queues = lab
    .inside(lab.host, ['tc', 'qdisc', 'show'])
    .split('\n')
    .filter((line) => /tbf|ingress/.test(line));
  return [
    ...leases,
    ...links.map((name) => `link ${name}`),
    ...records.map((name) => `record ${name}`),
    ...kept.map((name) => `settings ${name}`),
    ...ours.map((line) => `rule ${line.trim()}`),
    ...queues.map((line) => `queue ${line}`),
  ];
}

type Strike = (
  lab: Lab,
  call: { argv: [string, ...string[]]; env: Record<string, string>; n: number },
) => {
  argv: [string, ...string[]];
  env: Record<string, string>;
};

const changes = [
  ...['sendto', 'sendmsg', 'execve', 'vfork', 'clone3', 'write', 'flock'],
  ...['rename', 'renameat', 'renameat2', 'link', 'linkat', 'unlink', 'unlinkat', 'mkdir', 'mkdirat'],
];

/** At the n-th call of that name by any thread (each counts its own), children's too. */
const byStrace =
  (name: string): Strike =>
  (_lab, { argv, env, n }) => {
    const only = ['-e', `trace=?${name}`, '-e', `inject=?${name}:signal=SIGKILL:when=${n}`];
    return { argv: ['strace', '-f', '-qqq', '-o', '/dev/null', ...only, ...argv], env };
  };

const unharmed: Strike = (_lab, { argv, env }) => ({ argv, env });

/** Odd n: before run (n+1)/2 of any of the programs; even n: after run n/2. */
const byWrapper: Strike = (lab, { argv, env, n }) => {
  const dir = join(lab.dir, 'wrap');
  mkdirSync(dir, { recursive: true });
  for (const name of ['ip', 'nft', 'tc', 'conntrack', 'bridge']) {
    const real = findProgram(name);
    if (!real) continue;
    writeFileSync(
      join(dir, name),
      `#!/bin/sh
count=$(($(cat ${dir}/count) + 1)); echo $count > ${dir}/count
[ $count = ${(n + 1) / 2} ] && kill -KILL $PPID
${real} "$@"; code=$?
[ $count = ${n / 2} ] && kill -KILL $PPID
echo >> ${dir}/ended
exit $code
`,
    );
    chmodSync(join(dir, name), 0o755);
  }
  writeFileSync(join(dir, 'count'), '0');
  writeFileSync(join(dir, 'ended'), '');
  return { argv, env: { ...env, PATH: `${dir}:${process.env.PATH}` } };
};

/** A program that a killed plugin had started runs on: what it does after the DEL would be laid at the plugin's door. */
async function wrappersEnd(lab: Lab): Promise<void> {
  if (!existsSync(join(lab.dir, 'wrap'))) return;
  const text = (name: string): string => readFileSync(join(lab.dir, 'wrap', name), 'utf8');
  const haveEnded = await until(() => text('ended').length === Number(text('count')));
  if (!haveEnded) throw new Error('a wrapped program does not end');
}

/** @returns whether the plugin was killed */
async function struck(victim: Victim, { n, strike }: { n: number; strike: Strike }): Promise<boolean> {
  const { lab, conf } = victim;
  const env = {
    ...victim.env,
    CNI_COMMAND: victim.verb,
    CNI_CONTAINERID: 'victim',
    CNI_IFNAME: 'eth0',
    CNI_NETNS: `/run/netns/${victim.netns}`,
    CNI_PATH: lab.plugins,
  };
  const command = strike(lab, { argv: [join(lab.plugins, conf.type)], env, n });
  try {
    await lab.exec({
      ...command,
      input: JSON.stringify({
        ...conf,
        ...(victim.verb === 'GC' ? { 'cni.dev/valid-attachments': [] } : {}),
      }),
      okCodes: [0, 1],
    });
    return false;
  } catch (error) {
    if (!(error instanceof ExecError && (error.signal === 'SIGKILL' || error.exitCode === 137))) throw error;
    await wrappersEnd(lab);
    return true;
  }
}

/** One container of a scenario: what it is chained to is made anew each time, as a runtime would. */
class Victim {
  readonly lab: Lab;
  readonly netns: string;
  readonly env: Record<string, string>;
  readonly #scenario: Scenario;
  conf: Conf;
  constructor(lab: Lab, scenario: Scenario) {
    this.lab = lab;
    this.netns = lab.container();
    this.env = scenario.env ?? {};
    this.#scenario = scenario;
    this.conf = scenario.conf(lab);
  }

  get verb(): 'ADD' | 'DEL' | 'GC' {
    return this.#scenario.verb ?? 'ADD';
  }

  /** Makes what is to be there before. @throws Error where it cannot be made */
  async ready(): Promise<void> {
    const { on, conf } = this.#scenario;
    if (on) this.conf = { ...conf(this.lab), prevResult: await this.#add(on(this.lab)) };
    if (this.verb !== 'ADD') await this.#add(this.conf);
  }

  async #add(conf: Conf): Promise<unknown> {
    const call = { netns: this.netns, id: 'victim', env: this.env };
    const { ok, json } = await this.lab.call('ADD', conf, call);
    if (!ok) throw new Error(JSON.stringify(json));
    return json;
  }

  /** DEL of the list, again, GC of all. @returns what went wrong and what is left */
  async cleanedUp(): Promise<string[]> {
    const { lab, conf, env, netns } = this;
    const faults: string[] = [];
    const call = async (verb: string, one: Conf) => {
      const { ok, json } = await lab.call(verb, one, { netns, id: 'victim', env });
      if (!ok) faults.push(`${verb} of ${one.type} failed: ${JSON.stringify(json)}`);
    };
    const below = this.#scenario.on?.(lab);
    for (const one of [conf, conf, ...(below ? [below] : [])]) await call('DEL', one);
    await call('GC', { ...conf, 'cni.dev/valid-attachments': [] });
    return [...faults, ...remains(lab).map((what) => `left behind: ${what}`)];
  }
}

async function matrix(t: Test, scenario: Scenario, strikes: readonly Strike[]): Promise<void> {
  const lab = await makeLab();
  const victim = new Victim(lab, scenario);
  // Once unharmed: the bridge is there after it, and the first sweep of the leases, as on any machine.
  await victim.ready();
  t.notOk(await struck(victim, { n: 0, strike: unharmed }));
  t.strictSame(await victim.cleanedUp(), []);
  const faults: string[] = [];
  let kills = 0;
  for (const strike of strikes)
    for (let n = 1; n < 200 && faults.length < 10; n++) {
      await victim.ready();
      const killed = await struck(victim, { n, strike });
      const where = `strike ${strikes.indexOf(strike)}, ${n}`;
      faults.push(...(await victim.cleanedUp()).map((what) => `${where}: ${what}`));
      kills += Number(killed);
      if (!killed) break;
    }
  t.strictSame(faults, [], 'nothing is left, wherever it was killed');
  t.ok(kills > 0, `killed at ${kills} points`);
  lab.close();
}

/** Which of the calls that change something an ADD of it makes at all. */
async function changesOf(scenario: Scenario): Promise<string[]> {
  const lab = await makeLab();
  const victim = new Victim(lab, scenario);
  await victim.ready();
  const log = join(lab.dir, 'strace');
  const trace = `trace=${changes.map((name) => `?${name}`)}`;
  const strike: Strike = (_lab, { argv, env }) => ({
    argv: ['strace', '-f', '-qqq', '-o', log, '-e', trace, ...argv],
    env,
  });
  await struck(victim, { n: 0, strike });
  const names = readFileSync(log, 'utf8').matchAll(/^\d+ +(\w+)\(/gm);
  const seen = new Set([...names].map(([, name]) => name));
  await victim.cleanedUp();
  lab.close();
  return changes.filter((name) => seen.has(name));
}

const noStrace = findProgram('strace') ? false : 'strace is not installed';
for (const scenario of [...scenarios, ...undone].filter(({ type }) => type in registry)) {
  t.test(`${scenario.name}: killed at each change`, { skip: noStrace }, async (t) => {
    const used = await changesOf(scenario);
    t.comment(used.join(' '));
    await matrix(t, scenario, used.map(byStrace));
  });
  if (scenario.verb) continue;
  const env = { ...scenario.env, PODWIRE_NET: 'ip' };
  t.test(`${scenario.name}: killed around each program it starts`, (t) =>
    matrix(t, { ...scenario, env }, [byWrapper]),
  );
}
