// Test VMs: qemu without KVM, reached by ssh. One machine or many; see lab.ts for how they are started. Each has the two
// NICs of a Vagrant node on VirtualBox: eth0 with the same address and MAC everywhere and the default route, eth1 on a common bridge.
// Assumes it runs in the namespaces that main.ts made: whatever is left alive when that ends, the kernel kills.
// A VM costs one core while it works, and its memory and translation buffer as far as used. Limits are generous.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HttpClient } from '../../lib/api/http/client.ts';
import { type CommandResult, run } from '../../lib/exec/exec.ts';
import type { VmImage } from './image.ts';

export interface MachineOptions {
  readonly image: VmImage;
  /** The disk with podwire on it. */
  readonly payload: string;
  /** Counted from 1: node1 has 10.77.0.11 and fd77::11 on its second NIC, and so on. */
  readonly number: number;
  readonly memoryMiB: number;
  /** What qemu may keep of translated code: with 128 Node runs a third slower than with 512. */
  readonly translationMiB: number;
  /** Where its disk, console log and sockets are. */
  readonly folder: string;
}

export interface RunOptions {
  /** Text for standard input. */
  readonly input?: string;
  /** As long as anything is waited for, unless told. */
  readonly timeoutMs?: number;
  /** 'own': a login of its own, ended with the command, instead of the machine's one standing connection. */
  readonly session?: 'shared' | 'own';
}

export const bridgeName = 'vmbr0';
export const tapName = (number: number): string => `vmtap${number}`;
/** What VirtualBox gives to every VM: an address by which no other VM can reach it. */
export const natAddress = '10.0.2.15';
const natGateway = '10.0.2.2';
const natMac = '08:00:27:8d:c0:4d';
const netmask = '255.255.255.0';
const anyCode = Array.from({ length: 256 }, (_, code) => code);
/** So long a boot, a command or a state is waited for: ten times what it takes on a quiet machine. Nothing waits longer than it must. */
export const patienceMs = 300_000;

export class Machine {
  readonly name: string;
  /** On eth1, where the other VMs are. */
  readonly ip: string;
  readonly ip6: string;
  readonly #options: MachineOptions;
  readonly #disk: string;
  readonly #control: string;
  /** On this side of ssh: the API of podwired in the VM, whenever one listens there. */
  readonly apiSocket: string;
  /** Its client: under emulation a call costs a hundredth of the CLI. */
  readonly api: HttpClient;
  #qemu: ChildProcess | undefined;
  #ssh: ChildProcess | undefined;

  constructor(options: MachineOptions) {
    this.#options = options;
    this.name = `node${options.number}`;
    this.ip = `10.77.0.${10 + options.number}`;
    this.ip6 = `fd77::${10 + options.number}`;
    this.#disk = join(options.folder, `${this.name}.qcow2`);
    this.#control = join(options.folder, `${this.name}.ssh`);
    this.apiSocket = join(options.folder, `${this.name}.api`);
    this.api = new HttpClient({ socketPath: this.apiSocket });
  }

  /** Makes its disk and its tap on the bridge, once. */
  async create(): Promise<void> {
    const { image, number } = this.#options;
    const tap = tapName(number);
    await run({
      argv: ['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', image.disk, this.#disk],
    });
    await run({ argv: ['ip', 'tuntap', 'add', tap, 'mode', 'tap'] });
    await run({ argv: ['ip', 'link', 'set', tap, 'master', bridgeName, 'up'] });
  }

  /** Boots it and waits until commands can be run; gives the seconds that took. @throws Error with the console's end */
  async start(): Promise<number> {
    const began = performance.now();
    rmSync(this.#consoleLog, { force: true });
    const errors = openSync(join(this.#options.folder, `${this.name}.qemu.log`), 'a', 0o600);
    const qemu = spawn('qemu-system-x86_64', this.#qemuArgs(), { stdio: ['ignore', errors, errors] });
    closeSync(errors);
    this.#qemu = qemu;
    const ended = hasEnded(qemu);
    while (!this.console().includes('VM-READY')) {
      if (ended()) throw new Error(`${this.name}: qemu ended while booting\n${this.#logEnds()}`);
      if (performance.now() - began > patienceMs)
        throw new Error(`${this.name}: not up after ${patienceMs / 1000} s\n${this.#logEnds()}`);
      await sleep(50);
    }
    await this.#connect();
    return (performance.now() - began) / 1000;
  }

  /** Runs a program in the VM; any exit code is a result. 255 is ssh's own failure. */
  async run(argv: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
    const { input, timeoutMs = patienceMs, session = 'shared' } = options;
    const path = session === 'own' ? 'none' : this.#control;
    return await run({
      argv: ['ssh', ...this.#sshFlags(path), 'root@127.0.0.1', argv.map(shellQuote).join(' ')],
      okCodes: anyCode,
      timeoutMs,
      ...(input === undefined ? {} : { input }),
    });
  }

  /** The same, but another exit code than 0 is an Error with what the program said. Gives standard output, trimmed. */
  async out(argv: readonly string[], options?: RunOptions): Promise<string> {
    const { stdout, stderr, exitCode } = await this.run(argv, options);
    if (exitCode !== 0)
      throw new Error(`${this.name}: ${argv.join(' ')}: exit code ${exitCode}\n${stderr}${stdout}`);
    return stdout.trim();
  }

  /** A script by the VM's bash; otherwise as `out`. */
  async sh(script: string, options?: RunOptions): Promise<string> {
    return await this.out(['bash', '-c', script], options);
  }

  /** The CLI. */
  async podwire(...args: string[]): Promise<CommandResult> {
    return await this.run(['/opt/podwire/bin/podwire', ...args]);
  }

  /** Writes a file, with its folders. */
  async put(path: string, text: string, mode = '0644'): Promise<void> {
    await this.run(['install', '-D', '-m', mode, '/dev/stdin', path], { input: text });
  }

  /** Pulls or puts back the cable of eth1; ssh goes another way. */
  async cable(state: 'in' | 'out'): Promise<void> {
    const link = ['ip', 'link', 'set', tapName(this.#options.number)] as const;
    await run({ argv: [...link, state === 'in' ? 'up' : 'down'] });
  }

  /** As a switch with a smaller MTU in front of eth1: larger packets to this VM are lost, and nobody is told. 1500 is the usual. */
  async switchMtu(bytes: number): Promise<void> {
    await run({ argv: ['ip', 'link', 'set', tapName(this.#options.number), 'mtu', String(bytes)] });
  }

  /** Everything that the kernel and systemd said since it was started. */
  console(): string {
    return existsSync(this.#consoleLog) ? readFileSync(this.#consoleLog, 'utf8') : '';
  }

  /** As when the plug is pulled and put back: what the VM had not yet written to its disk is lost. Gives seconds. */
  async powerCut(): Promise<number> {
    await this.stop();
    return await this.start();
  }

  /** An orderly shutdown and a new boot. Gives seconds. */
  async reboot(): Promise<number> {
    const began = performance.now();
    const qemu = this.#qemu!;
    const ended = hasEnded(qemu);
    await this.run(['systemctl', 'reboot', '--no-block']);
    this.#disconnect();
    while (!ended()) {
      if (performance.now() - began > patienceMs)
        throw new Error(`${this.name}: does not shut down\n${this.#logEnds()}`);
      await sleep(50);
    }
    await this.start();
    return (performance.now() - began) / 1000;
  }

  /** Pulls the plug. qemu itself ends in order, so its disk file stays whole. Repeatable. */
  async stop(): Promise<void> {
    this.#disconnect();
    const qemu = this.#qemu;
    this.#qemu = undefined;
    if (!qemu) return;
    const ended = hasEnded(qemu);
    qemu.kill('SIGTERM');
    const deadline = performance.now() + 5000;
    while (!ended()) {
      if (performance.now() > deadline) qemu.kill('SIGKILL');
      await sleep(10);
    }
  }

  get #consoleLog(): string {
    return join(this.#options.folder, `${this.name}.console.log`);
  }

  #logEnds(): string {
    const qemu = readFileSync(join(this.#options.folder, `${this.name}.qemu.log`), 'utf8');
    return `console:\n${this.console().slice(-3000)}\nqemu:\n${qemu.slice(-1000)}`;
  }

  #qemuArgs(): string[] {
    const { image, payload, number, memoryMiB, translationMiB } = this.#options;
    const kernel = [
      ...['console=ttyS0', 'quiet', 'loglevel=4', 'mitigations=off', 'panic=-1', 'net.ifnames=0'],
      // An id of its own, so that no boot counts as a first one with all its work.
      ...['root=/dev/vda', `systemd.machine_id=${String(number).padStart(32, '5')}`],
      ...[`systemd.hostname=${this.name}`, 'systemd.show_status=no'],
      `ip=${natAddress}::${natGateway}:${netmask}:${this.name}:eth0:off`,
      ...[`ip=${this.ip}:::${netmask}::eth1:off`, `ip=[${this.ip6}]:::64::eth1:off`],
    ];
    return [
      // Never KVM: on some machines /dev/kvm is there and a guest hangs on it. The translation buffer is qemu's own memory, beside the VM's.
      ...[
        '-machine',
        'q35',
        '-accel',
        `tcg,thread=multi,tb-size=${translationMiB}`,
        '-cpu',
        'max',
        '-smp',
        '1',
      ],
      ...['-m', String(memoryMiB), '-nodefaults', '-no-user-config', '-display', 'none', '-monitor', 'none'],
      ...['-serial', `file:${this.#consoleLog}`, '-no-reboot'],
      ...['-kernel', image.kernel, '-initrd', image.initrd, '-append', kernel.join(' ')],
      ...['-drive', `file=${this.#disk},format=qcow2,if=virtio,cache=unsafe`],
      ...['-drive', `file=${payload},format=raw,if=virtio,readonly=on`],
      ...['-device', 'virtio-rng-pci'],
      ...['-netdev', `user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:${this.#sshPort}-:22`],
      ...['-device', `virtio-net-pci,netdev=n0,romfile=,mac=${natMac}`],
      ...['-netdev', `tap,id=n1,ifname=${tapName(number)},script=no,downscript=no`],
      ...['-device', `virtio-net-pci,netdev=n1,romfile=,mac=52:54:00:77:00:${hex(10 + number)}`],
    ];
  }

  get #sshPort(): number {
    return 2200 + this.#options.number;
  }

  #sshFlags(controlPath: string): string[] {
    const settings = {
      Port: String(this.#sshPort),
      IdentityFile: this.#options.image.sshKey,
      IdentitiesOnly: 'yes',
      BatchMode: 'yes',
      StrictHostKeyChecking: 'no',
      UserKnownHostsFile: '/dev/null',
      LogLevel: 'ERROR',
      ConnectTimeout: '60',
      ControlPath: controlPath,
    };
    return ['-F', 'none', ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])];
  }

  /** One standing connection: a login costs 0.3 s under emulation, a command over it a tenth of that. */
  async #connect(): Promise<void> {
    const log = openSync(join(this.#options.folder, `${this.name}.ssh.log`), 'a', 0o600);
    const forward = ['-o', 'StreamLocalBindUnlink=yes', '-L', `${this.apiSocket}:/run/podwire/podwired.sock`];
    const own = ['-N', '-o', 'ControlMaster=yes', ...forward];
    const argv = [...this.#sshFlags(this.#control), ...own, 'root@127.0.0.1'];
    const ssh = spawn('ssh', argv, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#ssh = ssh;
    const ended = hasEnded(ssh);
    const deadline = performance.now() + patienceMs;
    while (!existsSync(this.#control)) {
      if (ended() || performance.now() > deadline)
        throw new Error(
          `${this.name}: no ssh\n${readFileSync(join(this.#options.folder, `${this.name}.ssh.log`), 'utf8')}`,
        );
      await sleep(20);
    }
  }

  #disconnect(): void {
    this.api.close();
    this.#ssh?.kill('SIGKILL');
    this.#ssh = undefined;
    rmSync(this.#control, { force: true });
  }
}

/** One word of a POSIX shell's command line, as ssh's other end reads it. Pure. */
export const shellQuote = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

const hex = (byte: number): string => byte.toString(16).padStart(2, '0');

function hasEnded(child: ChildProcess): () => boolean {
  return () => child.exitCode !== null || child.signalCode !== null;
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
