// Runs in the cell that cni-runtimes.test.ts makes: all runtimes on one network of our plugins. Writes one JSON line a
// finding to standard output: what, whether it is so, and why not.
import { existsSync, mkdirSync, readdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cellPaths, furnishCell } from '../../bench/lib/cell.ts';
import { buildWorkload } from '../../bench/lib/image.ts';
import { endProcess, until } from '../../bench/lib/wait.ts';
import { startContainerdDaemon } from '../../bench/peers/containerd-daemon.ts';
import { parseList } from '../../lib/cni/conf.ts';
import { Cni } from '../../lib/cni/runtime.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { mountOverlay } from '../../lib/kernel/mount.ts';
import { pluginTypes } from '../../scripts/build-cni.ts';
import {
  cnitoolMember,
  criMember,
  ctrMember,
  type Member,
  netnsOf,
  network,
  type Place,
  Podman,
} from './cni-members.ts';

/** What the machine has, as the test outside found it. */
export interface Peers {
  readonly containerd: boolean;
  readonly podman: boolean;
  /** Path of the original cnitool; '' where it could not be built. */
  readonly cnitool: string;
  readonly goPlugins: string;
}

const repo = fileURLToPath(new URL('../..', import.meta.url));
const ours = join(repo, 'bin/cnitool');
const confDir = '/etc/cni/net.d';
const binDir = '/opt/cni/bin';

async function finding(what: string, find: () => Promise<unknown>): Promise<boolean> {
  let why = '';
  try {
    await find();
  } catch (error) {
    why = messageOf(error);
  }
  process.stdout.write(`${JSON.stringify({ what, ok: why === '', why })}\n`);
  return why === '';
}

function expect(ok: boolean, why: string): void {
  if (!ok) throw new Error(why);
}

async function main(folder: string, peers: Peers): Promise<void> {
  await furnishCell(folder);
  for (const target of ['/etc', '/opt']) {
    const layer = (name: string): string => join('/run/layers', target, name);
    for (const name of ['upper', 'work']) mkdirSync(layer(name), { recursive: true });
    await mountOverlay({ lower: [target], upper: layer('upper'), work: layer('work'), target });
  }
  for (const dir of [confDir, binDir]) mkdirSync(dir, { recursive: true });
  for (const name of readdirSync(binDir)) throw new Error(`${binDir} is not empty: ${name}`);
  for (const name of readdirSync(confDir)) await run({ argv: ['rm', '-rf', join(confDir, name)] });
  const { id, image } = cellPaths(folder);
  const place: Place = { folder, id, workload: await buildWorkload(image), confDir, binDir };

  const installed = await finding('npm run install:cni puts the plugins into /opt/cni/bin', async () => {
    const { stdout } = await run({ argv: [process.execPath, join(repo, 'scripts/install-cni.ts')] });
    expect(stdout.startsWith(`${binDir}: in place:`), stdout);
    const again = await run({ argv: [process.execPath, join(repo, 'scripts/install-cni.ts')] });
    expect(again.stdout.startsWith(`${binDir}: up to date:`), again.stdout);
  });
  if (!installed) return;
  writeFileSync(join(confDir, '10-e2e.conflist'), JSON.stringify(conflist()));
  await together(place, peers);
  if (peers.cnitool !== '') await likeTheOriginal(peers.cnitool);
  if (existsSync(join(peers.goPlugins, 'bridge'))) await mixed(folder, peers.goPlugins);
  await finding('uninstall leaves nothing', async () => {
    await run({ argv: [process.execPath, join(repo, 'scripts/install-cni.ts'), '--uninstall'] });
    expect(readdirSync(binDir).length === 0, readdirSync(binDir).join(' '));
  });
}

// 1.0.0 is what containerd 1.6 and podman 4.3 speak.
const conflist = () => ({
  cniVersion: '1.0.0',
  name: network,
  plugins: [
    {
      type: 'bridge',
      bridge: 'cni-e2e0',
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.239.0.0/24' }], [{ subnet: 'fd00:10:239::/64' }]],
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
      },
    },
    ...(pluginTypes.includes('portmap') ? [{ type: 'portmap', capabilities: { portMappings: true } }] : []),
    ...(pluginTypes.includes('firewall') ? [{ type: 'firewall' }] : []),
    ...(pluginTypes.includes('tuning') ? [{ type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } }] : []),
  ],
});

/** All runtimes on one network: each attaches, everybody reaches everybody, and nothing is left. */
async function together(place: Place, peers: Peers): Promise<void> {
  const members: Member[] = [];
  const tools = { add: peers.cnitool || ours, del: ours };
  members.push(cnitoolMember('cnitool-a', place, tools));
  members.push(cnitoolMember('cnitool-b', place, { add: ours, del: tools.add }));
  let stopContainerd = async (): Promise<void> => {};
  if (peers.containerd)
    await finding('containerd starts with our plugins, and says that its network is ready', async () => {
      const { pauseRef } = place.workload;
      const setup = {
        folder: join(place.folder, 'containerd'),
        pauseRef,
        conflist: JSON.stringify(conflist()),
        binDir,
      };
      const daemon = await startContainerdDaemon(setup, place.workload);
      stopContainerd = async () => {
        daemon.cri.close();
        await endProcess(daemon, 'SIGTERM');
      };
      members.push(criMember('cri-a', place, daemon.cri), criMember('cri-b', place, daemon.cri));
      members.push(ctrMember('ctr-a', place));
    });
  const podman = peers.podman ? new Podman({ ...place, folder: join(place.folder, 'podman') }) : undefined;
  if (podman)
    await finding('podman knows our network', async () => {
      await podman.load();
      const names = await podman.run('network', 'ls', '--format', '{{.Name}}');
      expect(names.split('\n').includes(network), names);
      const ports = pluginTypes.includes('portmap') ? ['--publish', '18080:8080'] : [];
      members.push(podman.member('podman-a', ...ports), podman.member('podman-b'));
    });

  const running: Member[] = [];
  for (const member of members)
    if (await finding(`${member.name} is attached and runs`, () => member.start())) running.push(member);
  const addresses = new Map<string, string[]>();
  for (const { name } of running)
    await finding(`${name} has an address of each family`, async () =>
      addresses.set(name, await addressesOf(name)),
    );
  await finding('all addresses are different', async () => {
    const all = [...addresses.values()].flat();
    expect(new Set(all).size === all.length, all.join(' '));
  });
  for (const { name } of running)
    await finding(`${name} reaches all others and itself, over IPv4 and IPv6`, () =>
      reaches(name, addresses),
    );
  if (running.some(({ name }) => name === 'podman-a') && pluginTypes.includes('portmap'))
    await finding("podman's published port reaches it", async () => {
      const [answer] = await askFrom('cnitool-a', ['10.239.0.1:18080']);
      expect(answer === 'podman-a', answer ?? '');
    });
  if (podman)
    await finding('a network that podman itself makes runs on our plugins', () => podman.ownNetwork());
  for (const member of members)
    if (running.includes(member)) await finding(`${member.name} is removed`, () => member.stop());
  await stopContainerd();
  await finding('nothing of them is left', nothingLeft);
}

async function addressesOf(name: string): Promise<string[]> {
  const { stdout } = await run({
    argv: ['nsenter', `--net=${netnsOf(name)}`, 'ip', '-j', 'addr', 'show', 'dev', 'eth0', 'scope', 'global'],
  });
  const [link] = JSON.parse(stdout) as Array<{ addr_info: Array<{ local?: string; family: string }> }>;
  const found = (link?.addr_info ?? []).flatMap(({ local }) => (local ? [local] : []));
  expect(found.length === 2, `${name}: ${stdout}`);
  return found;
}

// busybox wget would do, were Debian's static one not to crash where it looks names up.
const asker = `
const ask = (url) => new Promise((resolve) => {
  const get = require('node:http').get(url, { timeout: 2000, agent: false }, (reply) => {
    let text = '';
    reply.on('data', (chunk) => { text += chunk; }).on('end', () => resolve(text.trim()));
  });
  get.on('timeout', () => get.destroy(new Error('no answer'))).on('error', (error) => resolve(error.message));
});
Promise.all(process.argv.slice(1).map(ask)).then((answers) => console.log(JSON.stringify(answers)));`;

/** What web servers answer to one who asks from a member's namespace. */
async function askFrom(name: string, where: readonly string[]): Promise<string[]> {
  const urls = where.map((one) => `http://${one}/`);
  const { stdout } = await run({
    argv: ['nsenter', `--net=${netnsOf(name)}`, process.execPath, '-e', asker, ...urls],
    timeoutMs: 60_000,
  });
  return JSON.parse(stdout) as string[];
}

async function reaches(name: string, addresses: ReadonlyMap<string, string[]>): Promise<void> {
  const all = [...addresses].flatMap(([other, theirs]) => theirs.map((address) => ({ other, address })));
  const where = all.map(({ address }) => (address.includes(':') ? `[${address}]:8080` : `${address}:8080`));
  await until(`${name} reaches all`, 60_000, async () => {
    const answers = await askFrom(name, where);
    const wrong = all.flatMap(({ other, address }, at) =>
      answers[at] === other ? [] : [`${other} at ${address}: ${answers[at]}`],
    );
    expect(wrong.length === 0, wrong.join('; '));
  });
}

async function nothingLeft(): Promise<void> {
  await until('all links are gone', 60_000, async () => {
    const { stdout } = await run({ argv: ['ip', '-br', 'link'] });
    const names = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/[ @]/)[0]);
    expect(
      names.every((name) => name === 'lo' || name === 'cni-e2e0'),
      stdout,
    );
  });
  const leases = readdirSync(`/var/lib/cni/networks/${network}`).filter((name) => /^[\d.]+$|:/.test(name));
  expect(leases.length === 0, `leases: ${leases.join(' ')}`);
  const cached = existsSync('/var/lib/cni/results') ? readdirSync('/var/lib/cni/results') : [];
  expect(cached.length === 0, `cache: ${cached.join(' ')}`);
  const { stdout: rules } = await run({ argv: ['nft', 'list', 'ruleset'] });
  expect(!/10\.239\.0\.\d+[^/\d]|fd00:10:239::[1-9a-f]/.test(rules), rules);
}

/** The same configuration through both cnitools: the same answers. */
async function likeTheOriginal(original: string): Promise<void> {
  const name = 'same';
  const list = { ...conflist(), cniVersion: '1.1.0', name };
  writeFileSync(join(confDir, '20-same.conflist'), JSON.stringify(list));
  const env = { CNI_PATH: binDir, NETCONFPATH: confDir, CNI_ARGS: 'IgnoreUnknown=1', CNI_IFNAME: 'net0' };
  const tool = (program: string, ...words: string[]) =>
    run({ argv: [program, ...words], env, okCodes: [0, 1], timeoutMs: 30_000 });
  const netns = '/run/netns/same';
  await finding('cnitool of ours and the original print the same', async () => {
    await run({ argv: ['ip', 'netns', 'add', 'same'] });
    const results = [];
    for (const [adds, dels] of [
      [original, ours],
      [ours, original],
    ] as const) {
      const { stdout, stderr } = await tool(adds, 'add', name, netns);
      expect(stdout !== '', stderr);
      for (const verb of ['check', 'status']) {
        const answers = await Promise.all([tool(original, verb, name, netns), tool(ours, verb, name, netns)]);
        expect(
          answers.every(({ exitCode, stdout }) => exitCode === 0 && stdout === ''),
          `${verb}: ${JSON.stringify(answers)}`,
        );
      }
      results.push(stdout);
      const deleted = await tool(dels, 'del', name, netns);
      expect(deleted.exitCode === 0, deleted.stderr);
      expect(readdirSync('/var/lib/cni/results').length === 0, 'the other one does not find what was cached');
    }
    const shapes = results.map((text) => JSON.stringify(anonymous(JSON.parse(text))));
    expect(shapes[0] === shapes[1], shapes.join('\n'));
    expect(
      results.every((text) => text.startsWith('{\n    "cniVersion": "1.1.0"')),
      results.join('\n'),
    );
  });
  await finding('gc by either frees what is attached', async () => {
    for (const program of [original, ours]) {
      await tool(original, 'add', name, netns);
      const gc = await tool(program, 'gc', name, netns);
      expect(gc.exitCode === 0, gc.stderr);
      const leases = readdirSync(`/var/lib/cni/networks/${name}`).filter((entry) => /^[\d.]+$|:/.test(entry));
      expect(leases.length === 0, leases.join(' '));
    }
    await run({ argv: ['ip', 'netns', 'del', 'same'] });
  });
  await finding('both fail alike', async () => {
    for (const words of [
      ['add', 'absent', netns],
      ['add', name],
    ]) {
      const answers = await Promise.all([tool(original, ...words), tool(ours, ...words)]);
      expect(
        answers.every(({ exitCode, stderr }) => exitCode === 1 && stderr !== ''),
        JSON.stringify(answers),
      );
    }
  });
}

/** Without what differs from one attachment to the next; keys in order. */
function anonymous(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(anonymous);
  if (typeof value !== 'object' || value === null)
    return typeof value === 'string'
      ? value.replace(/^veth\w+$|^([0-9a-f]{2}:){5}[0-9a-f]{2}$|(?<=10\.239\.0\.|239::)\w+(?=\/)/, 'X')
      : value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, anonymous(inner)]));
}

/** The reference plugins under our runtime, mixed with ours in one conflist. */
async function mixed(folder: string, go: string): Promise<void> {
  const dir = join(folder, 'mixed');
  const lists: Array<[string, Record<string, 'go' | 'ours'>, object[]]> = [
    [
      'bridge of ours, host-local and tuning of Go',
      { bridge: 'ours', 'host-local': 'go', tuning: 'go' },
      [{ type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } }],
    ],
    [
      'bridge of Go, host-local of ours, bandwidth of Go',
      { bridge: 'go', 'host-local': 'ours', bandwidth: 'go' },
      [{ type: 'bandwidth', capabilities: { bandwidth: true } }],
    ],
    ['all of Go', { bridge: 'go', 'host-local': 'go', tuning: 'go' }, [{ type: 'tuning', mtu: 1400 }]],
    [
      'ptp and portmap of ours behind host-local of Go',
      { ptp: 'ours', 'host-local': 'go', portmap: 'ours' },
      [{ type: 'portmap', capabilities: { portMappings: true } }],
    ],
  ];
  for (const [at, [what, from, chained]] of lists.entries()) {
    if (Object.entries(from).some(([type, whose]) => whose === 'ours' && !pluginTypes.includes(type)))
      continue;
    await finding(`lib/cni runs ${what}`, async () => {
      const bin = join(dir, String(at));
      mkdirSync(bin, { recursive: true });
      for (const [type, whose] of Object.entries(from))
        symlinkSync(whose === 'go' ? join(go, type) : realpathSync(join(binDir, type)), join(bin, type));
      const [main = 'bridge'] = Object.keys(from);
      const ipam = {
        type: 'host-local',
        ranges: [[{ subnet: `10.238.${at}.0/24` }]],
        routes: [{ dst: '0.0.0.0/0' }],
      };
      const first = {
        type: main,
        ...(main === 'bridge' ? { bridge: `mix${at}`, isGateway: true } : {}),
        ipam,
      };
      const list = parseList({ cniVersion: '1.0.0', name: `mixed${at}`, plugins: [first, ...chained] });
      const cni = new Cni({ pluginDirs: [bin], cacheDir: '/var/lib/cni' });
      await cni.validateNetworkList(list);
      const netns = `/run/netns/mixed${at}`;
      await run({ argv: ['ip', 'netns', 'add', `mixed${at}`] });
      const capabilityArgs = {
        bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000 },
        portMappings: [{ hostPort: 18_090 + at, containerPort: 80, protocol: 'tcp' }],
      };
      const who = { containerId: `mixed${at}`, ifname: 'eth0', netns, capabilityArgs };
      const result = await cni.addNetworkList(list, who);
      const address = result.ips?.[0]?.address.split('/')[0] ?? '';
      await run({ argv: ['ip', 'netns', 'exec', `mixed${at}`, 'ip', 'link', 'set', 'lo', 'up'] });
      const gateway = result.ips?.[0]?.gateway ?? '';
      await until(`${address} reaches ${gateway}`, 60_000, () =>
        run({
          argv: ['ip', 'netns', 'exec', `mixed${at}`, 'busybox', 'ping', '-c', '1', '-W', '1', gateway],
        }),
      );
      await cni.checkNetworkList(list, who);
      await cni.delNetworkList(list, who);
      await cni.delNetworkList(list, { containerId: who.containerId, ifname: 'eth0' });
      const { stdout } = await run({ argv: ['ip', '-br', 'link', 'show'] });
      expect(!/veth|ifb|bwp/.test(stdout), stdout);
      const leases = readdirSync(`/var/lib/cni/networks/mixed${at}`).filter((name) => name.startsWith('10.'));
      expect(leases.length === 0, `leases: ${leases.join(' ')}`);
      await run({ argv: ['ip', 'netns', 'del', `mixed${at}`] });
    });
  }
}

const [, , folder = '', peers = '{}'] = process.argv;
try {
  await main(folder, JSON.parse(peers) as Peers);
} catch (error) {
  process.stdout.write(`${JSON.stringify({ what: 'the cell', ok: false, why: messageOf(error) })}\n`);
}
process.exit(0); // the cell ends with us, and all that is in it
