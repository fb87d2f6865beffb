// The fuzz run itself, in namespaces of its own that fuzz.test.ts made: whatever a plugin is talked into doing, it does to
// links, files and sysctls that end with this process. Prints one JSON object.
import { spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { plugins } from '../../../cni-plugins/registry.ts';
import { serve } from '../../../cni-plugins/skel/skel.ts';
import { ExecError } from '../../../lib/exec/errors.ts';
import type { Exec } from '../../../lib/exec/exec.ts';
import {
  faultOf,
  fuzzCase,
  type FuzzCase,
  type Random,
  randomFrom,
  type Surroundings,
} from './fuzz-cases.ts';

interface Tally {
  cases: number;
  byCode: Record<string, number>;
  faults: Array<{ at: number; fault: string; type: string; env: object; stdin: string }>;
}

const [, , seedText = '1', inProcess = '1000', executed = '0', pluginDir = ''] = process.argv;
const seed = Number(seedText);
process.env.PODWIRE_NET = 'ip'; // in process nothing reaches the kernel but through the fake below

const sh = (command: string, ...args: string[]): void => {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
};
sh('mount', '-t', 'tmpfs', 'tmpfs', '/run');
// The checkout itself may lie below one of the folders that are hidden next.
const compiled = '/run/compiled';
mkdirSync(compiled);
sh('mount', '--bind', pluginDir, compiled);
for (const dir of ['/var/lib', '/tmp', '/var/tmp']) sh('mount', '-t', 'tmpfs', 'tmpfs', dir);
sh('mount', '-o', 'remount,bind,ro', '/');
sh('ip', 'netns', 'add', 'fuzz');
sh('ip', 'link', 'set', 'lo', 'up');
const links = '/run/plugins';
mkdirSync(links);
writeFileSync('/run/self', '');
for (const type of Object.keys(plugins)) symlinkSync('/run/self', join(links, type));
const around: Surroundings = {
  types: Object.keys(plugins),
  netns: '/run/netns/fuzz',
  pluginDir: links,
  dataDir: '/run/leases',
};

const ruleset =
  '{"nftables":[{"metainfo":{"version":"1.0.6"}},{"table":{"family":"inet","name":"podwire-cni"}}]}';
const eth0 = {
  ifindex: 7,
  ifname: 'eth0',
  flags: ['BROADCAST', 'UP'],
  mtu: 1400,
  operstate: 'UP',
  link_type: 'ether',
  address: '02:00:00:00:00:03',
  linkinfo: { info_kind: 'veth' },
  addr_info: [{ family: 'inet', local: '10.9.0.2', prefixlen: 24, scope: 'global' }],
};
const route = { dst: 'default', gateway: '10.9.0.1', dev: 'eth0', flags: [] };
const pick = (random: Random, argv: readonly string[]): string =>
  JSON.stringify(random() < 0.5 ? [] : [argv.includes('route') ? route : eth0]);

/** A program that may answer anything: nothing, something of the right form, a failure. */
const fakeExec =
  (random: Random): Exec =>
  async ({ argv, okCodes = [0] }) => {
    const luck = random();
    const right = argv[0] === 'nft' ? ruleset : pick(random, argv);
    const failed = (exitCode: number, stderr: string) => {
      if (okCodes.includes(exitCode)) return { stdout: '', stderr, exitCode };
      throw new ExecError('EXEC_FAILED', `${argv.join(' ')}: exit code ${exitCode}: ${stderr}`, {
        argv,
        exitCode,
        stderr,
      });
    };
    if (luck < 0.5) return { stdout: argv.includes('-j') ? right : '', stderr: '', exitCode: 0 };
    if (luck < 0.8)
      return { stdout: argv[0] === 'nft' ? ruleset : pick(random, argv), stderr: 'a warning', exitCode: 0 };
    if (luck < 0.9) return failed(1, 'RTNETLINK answers: File exists\nCommand failed -:1');
    if (luck < 0.97) return failed(1, 'Cannot find device "eth0"');
    throw new ExecError('EXEC_NOT_FOUND', `${argv[0]}: program not found`, { argv });
  };

function note(
  tally: Tally,
  found: { at: number; one: FuzzCase; stdout: string; fault: string | undefined },
): void {
  const { at, one, stdout, fault } = found;
  tally.cases++;
  const code = /^\{"cniVersion":"[\d.]+","code":(\d+)/.exec(stdout)?.[1] ?? 'ok';
  tally.byCode[code] = (tally.byCode[code] ?? 0) + 1;
  if (fault !== undefined && tally.faults.length < 20)
    tally.faults.push({
      at,
      fault,
      type: one.type,
      env: one.env,
      stdin: one.stdin.toString().slice(0, 1500),
    });
}

const tallies: Record<string, Tally> = {};
async function fuzz(
  name: string,
  count: number,
  answer: (
    one: FuzzCase,
    random: Random,
  ) => Promise<{ stdout: string; exitCode: number | null; stderr: string }>,
) {
  const tally: Tally = { cases: 0, byCode: {}, faults: [] };
  tallies[name] = tally;
  for (let at = 0; at < count; at++) {
    const random = randomFrom(seed + at); // so that a case can be run again alone
    const one = fuzzCase(random, around);
    const { stdout, exitCode, stderr } = await answer(one, random);
    const stack = /\n\s+at .*[:(]\d+/.test(stderr) ? `a stack trace: ${stderr.slice(0, 500)}` : undefined;
    note(tally, { at, one, stdout, fault: stack ?? faultOf(one, { stdout, exitCode }) });
  }
}

await fuzz('in process', Number(inProcess), async ({ type, env, stdin }, random) => {
  const host = { exec: fakeExec(random), plugins, self: '/run/self' };
  const answer = await serve(plugins[type]!, env, { stdin: stdin.toString(), host });
  return { ...answer, stderr: '' };
});
await fuzz('executed', Number(executed), async ({ type, env, stdin }) => {
  const { status, stdout, stderr } = spawnSync(join(compiled, type), [], {
    input: stdin,
    env: { PATH: process.env.PATH ?? '', ...env, ...(env.CNI_PATH === links ? { CNI_PATH: compiled } : {}) },
    timeout: 20_000,
    encoding: 'utf8',
  });
  // Without a command a plugin tells what it is, and no more.
  if (!env.CNI_COMMAND && status === 0 && stdout === '')
    return { stdout: '{"cniVersion":"1.1.0","code":4,"msg":"x"}', exitCode: 1, stderr };
  return { stdout, exitCode: status, stderr };
});
process.stdout.write(JSON.stringify(tallies));
process.exit(0);
