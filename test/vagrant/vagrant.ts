// The `vagrant` command on vagrant/Vagrantfile, with its state outside the checkout.
// Assumes libvirtd answers (libvirt.ts). Each call costs one to two seconds: it is Ruby.
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { shellQuote } from '../vm/machine.ts';

const repo = join(import.meta.dirname, '../..');
const boxName = 'podwire-test';

/** The names under which main.ts tells the test file what it prepared. */
export const vagrantEnv = { box: 'PODWIRE_VAGRANT_BOX', folder: 'PODWIRE_VAGRANT_FOLDER' } as const;

export function told(what: keyof typeof vagrantEnv): string {
  const value = process.env[vagrantEnv[what]];
  if (!value) throw new Error('run by `npm run test:vagrant`, which prepares box and namespaces');
  return value;
}

export class Vagrant {
  readonly #env: Record<string, string>;

  /** `env`: what the Vagrantfile is told. */
  constructor(folder: string, env: Record<string, string> = {}) {
    const home = join(folder, 'home');
    mkdirSync(home, { recursive: true });
    this.#env = {
      PATH: process.env.PATH ?? '',
      LC_ALL: 'C.UTF-8',
      HOME: home,
      VAGRANT_HOME: join(home, '.vagrant.d'),
      VAGRANT_DOTFILE_PATH: join(folder, 'dot'),
      VAGRANT_CHECKPOINT_DISABLE: '1',
      VAGRANT_DEFAULT_PROVIDER: 'libvirt',
      PODWIRE_BOX: boxName,
      ...env,
    };
  }

  /** Standard output; another exit code than 0 is an Error with what was said. `hear` gets each line as it comes. */
  async out(args: readonly string[], hear: (line: string) => void = () => {}): Promise<string> {
    const child = spawn('vagrant', args, {
      cwd: join(repo, 'vagrant'),
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 1_800_000,
    });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString('utf8');
    });
    const ended = new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)));
    const lines: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      lines.push(line);
      hear(line);
    }
    const code = await ended;
    if (code !== 0)
      throw new Error(
        `vagrant ${args.join(' ')}: exit code ${code ?? child.signalCode}\n${errors.slice(-3000)}\n${lines.slice(-30).join('\n')}`,
      );
    return lines.join('\n');
  }

  async addBox(box: string): Promise<void> {
    await this.out(['box', 'add', '--name', boxName, '--provider', 'libvirt', box]);
  }

  /** A script by a node's root. */
  async root(node: string, script: string): Promise<string> {
    const quoted = shellQuote(script);
    return (await this.out(['ssh', node, '--no-tty', '-c', `sudo bash -c ${quoted}`])).trim();
  }
}
