// The order in which an ADD uses its functions, told by a real one: bun then lays out their bytecode so, and an ADD reads
// fewer pages of the executable (0.35 ms of 9). bridge with host-local is what nearly every Pod runs.
// Assumes `unshare`, and root or a kernel that lets others make user namespaces. The ADDs run in a network namespace that
// ends with them, by this script run again in there; files are in a folder of the caller's. Three runs of the plugin.
import { existsSync, mkdirSync, realpathSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ExecError, messageOf } from '../lib/exec/errors.ts';
import { run } from '../lib/exec/exec.ts';

const self = fileURLToPath(import.meta.url);

/** The file for `--bytecode-order`; undefined, and said why, where no namespace can be made. */
export async function orderOfAnAdd(executable: string, folder: string): Promise<string | undefined> {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const type of ['bridge', 'host-local']) symlinkSync(executable, join(bin, type));
  try {
    const inside = [process.execPath, '--disable-warning=ExperimentalWarning', self, folder];
    await run({
      argv: ['unshare', '--map-root-user', '--net', ...inside],
      env: { PATH: process.env.PATH ?? '' },
    });
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    console.log(`the executable is not laid out in the order of use: ${messageOf(error)}`);
  }
  const order = join(folder, 'order');
  return existsSync(order) ? order : undefined;
}

/** The first ADD makes the bridge; the one that counts finds it, as nearly every ADD does. */
async function inside(folder: string): Promise<void> {
  const bin = join(folder, 'bin');
  const call = (command: 'ADD' | 'DEL', env: Record<string, string> = {}) =>
    run({
      argv: [join(bin, 'bridge')],
      input: conf(join(folder, 'leases')),
      env: {
        PATH: process.env.PATH ?? '',
        CNI_COMMAND: command,
        CNI_CONTAINERID: 'order',
        CNI_NETNS: '/proc/self/ns/net',
        CNI_NETNS_OVERRIDE: '1', // both ends in the namespace that was made for this
        CNI_IFNAME: 'eth0',
        CNI_PATH: bin,
        ...env,
      },
    });
  await call('ADD');
  await call('DEL');
  await call('ADD', { BUN_BYTECODE_ORDER_OUT: join(folder, 'order') });
}

const conf = (dataDir: string): string =>
  JSON.stringify({
    cniVersion: '1.0.0',
    name: 'order',
    type: 'bridge',
    bridge: 'order',
    isGateway: true,
    hairpinMode: true,
    ipam: {
      type: 'host-local',
      dataDir,
      ranges: [[{ subnet: '10.1.0.0/16' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  });

if (process.argv[1] && realpathSync(process.argv[1]) === self) await inside(process.argv[2] ?? '');
