// A lab for plugins: a namespace `host` that stands for the machine, namespaces for containers, a folder, and calls of
// plugins inside `host`. Everything is removed by `close`, which gives what was left behind in `host`.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, type Exec } from '../../../lib/exec/exec.ts';
import { buildCni, type Built } from '../../../scripts/build-cni.ts';

export interface CallOptions {
  readonly id?: string;
  /** Name of a container's namespace; '' for none. */
  readonly netns?: string;
  readonly ifname?: string;
  readonly args?: string;
  readonly env?: Record<string, string>;
  /** Folders of plugins; the built ones unless told. */
  readonly path?: string;
}

export interface Answer {
  readonly ok: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: what a plugin prints is what the tests look into
  readonly json: any;
}

export interface Lab {
  readonly host: string;
  readonly dir: string;
  readonly plugins: string;
  /** Makes a container's namespace. */
  container(): string;
  removeContainer(name: string): void;
  /** Runs a plugin in `host`. */
  call(command: string, conf: Conf, options?: CallOptions): Promise<Answer>;
  /** Exec that runs everything inside `host`. */
  readonly exec: Exec;
  /** `ip -j ARGS` in a namespace. */
  // biome-ignore lint/suspicious/noExplicitAny: the JSON of ip
  ip(netns: string, ...args: string[]): any[];
  /** Runs any program in a namespace; gives its output. */
  inside(netns: string, argv: string[], input?: string): string;
  /** Names of the links in `host`, without lo. */
  links(): string[];
  /** Addresses leased of a network. */
  leases(network: string): string[];
  /** Removes all; gives the links that were still there. */
  close(): string[];
}

export type Conf = { type: string; cniVersion: string; name: string } & Record<string, unknown>;

let count = 0;

// A test that fails does not get to its close().
const open = new Set<() => unknown>();
process.once('exit', () => {
  for (const close of open) close();
});
/** Fifty that delete links at once wait for each other in the kernel: on a busy machine for more than half a minute. */
const longestMs = 240_000;

const built = new Map<string, Promise<Built>>();

/** The plugins, built once a test file; the Node form goes to a folder of its own. */
export function plugins(form: 'compiled' | 'node', outDir?: string): Promise<Built> {
  const key = `${form} ${outDir}`;
  const promise = built.get(key) ?? buildCni({ form, ...(outDir ? { outDir } : {}) });
  built.set(key, promise);
  return promise;
}

export async function makeLab(options: { plugins?: string } = {}): Promise<Lab> {
  const dirOfPlugins = options.plugins ?? (await plugins('compiled')).outDir;
  const stem = `pwt${process.pid}-${count++}`;
  const host = `${stem}-h`;
  const dir = mkdtempSync(join(tmpdir(), 'podwire-cni-'));
  const containers: string[] = [];
  const ipBatch = (lines: string[], netns?: string): string =>
    execFileSync('ip', [...(netns ? ['-n', netns] : []), '-batch', '-'], {
      input: `${lines.join('\n')}\n`,
      encoding: 'utf8',
    });
  ipBatch([`netns add ${host}`]);
  ipBatch(['link set lo up'], host);
  const exec: Exec = (command) =>
    run({ timeoutMs: longestMs, ...command, argv: ['ip', 'netns', 'exec', host, ...command.argv] });
  const inside = (netns: string, argv: string[], input = ''): string =>
    execFileSync('ip', ['netns', 'exec', netns, ...argv], { input, encoding: 'utf8' });
  const ip = (netns: string, ...args: string[]) =>
    JSON.parse(execFileSync('ip', ['-n', netns, '-j', '-d', ...args], { encoding: 'utf8' }) || '[]');
  const links = (): string[] =>
    ip(host, 'link', 'show')
      .map((link: { ifname: string }) => link.ifname)
      .filter((name: string) => name !== 'lo');
  const remove = (): void => {
    ipBatch([...containers, host].map((name) => `netns del ${name}`));
    rmSync(dir, { recursive: true });
  };
  open.add(remove);
  return {
    host,
    dir,
    plugins: dirOfPlugins,
    exec,
    ip,
    inside,
    links,
    container() {
      const name = `${stem}-c${containers.length}`;
      ipBatch([`netns add ${name}`]);
      containers.push(name);
      return name;
    },
    removeContainer(name) {
      ipBatch([`netns del ${name}`]);
      containers.splice(containers.indexOf(name), 1);
    },
    call: (command, conf, call = {}) => callPlugin({ exec, plugins: dirOfPlugins }, { command, conf, call }),
    leases(network) {
      const folder = join(dir, 'leases', network);
      return existsSync(folder)
        ? readdirSync(folder)
            .filter((name) => /^[0-9a-f.:]+$/.test(name) && /[.:]/.test(name))
            .sort()
        : [];
    },
    close() {
      open.delete(remove);
      const left = links();
      remove();
      return left;
    },
  };
}

async function callPlugin(
  lab: { exec: Exec; plugins: string },
  { command, conf, call }: { command: string; conf: Conf; call: CallOptions },
): Promise<Answer> {
  const { id = 'c1', netns = '', ifname = 'eth0', args, env = {}, path = lab.plugins } = call;
  const [folder = ''] = path.split(':');
  const result = await lab.exec({
    argv: [join(folder, conf.type)],
    input: JSON.stringify(conf),
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_IFNAME: ifname,
      CNI_PATH: path,
      ...(netns === '' ? {} : { CNI_NETNS: netns.startsWith('/') ? netns : `/run/netns/${netns}` }),
      ...(args === undefined ? {} : { CNI_ARGS: args }),
      ...(process.env.PODWIRE_NET ? { PODWIRE_NET: process.env.PODWIRE_NET } : {}),
      ...env,
    },
    okCodes: [0, 1],
  });
  if (result.exitCode !== 0 && result.stdout === '')
    throw new Error(`${conf.type}: no error object: ${result.stderr}`);
  return {
    ok: result.exitCode === 0,
    json: result.stdout.trim() === '' ? undefined : JSON.parse(result.stdout),
  };
}

/** A bridge network of the lab. */
export const bridgeConf = (lab: Lab, more: Record<string, unknown> = {}): Conf => ({
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bridge',
  bridge: 'br0',
  isGateway: true,
  ipam: {
    type: 'host-local',
    dataDir: join(lab.dir, 'leases'),
    ranges: [[{ subnet: '10.88.0.0/24' }]],
    routes: [{ dst: '0.0.0.0/0' }],
  },
  ...more,
});

export const readLease = (lab: Lab, network: string, ip: string): string =>
  readFileSync(join(lab.dir, 'leases', network, ip), 'utf8');
