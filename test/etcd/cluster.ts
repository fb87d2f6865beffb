// A real etcd for the tests: one member or several, in a temporary folder; each member can be killed and come back.
// Assumes Debian's package etcd-server (or an `etcd` in PATH). Nothing is left: stop() kills and removes.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePorts } from '../free-ports.ts';

/** A reason for tap's `skip`, or false. */
export function whyNoEtcd(): string | false {
  return program() ? false : 'no etcd in PATH (Debian: apt-get install etcd-server)';
}

function program(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/bin', '/usr/local/bin'];
  return folders.map((folder) => join(folder, 'etcd')).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface EtcdTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface EtcdCluster {
  /** `HOST:PORT` each. */
  readonly endpoints: readonly string[];
  /** Which member leads now. */
  leader(): Promise<number>;
  /** SIGKILL, and gone when it resolves. */
  kill(member: number): Promise<void>;
  /** SIGSTOP and SIGCONT: it is there and says nothing. */
  freeze(member: number): void;
  thaw(member: number): void;
  /** Starts a killed one again, on its own data; ready when it resolves. */
  restart(member: number): Promise<void>;
  stop(): Promise<void>;
}

const startMs = 60_000;

/** `host`: where clients find it, an address of this machine; loopback unless told. */
export async function startEtcd(members: number, tls?: EtcdTls, host = '127.0.0.1'): Promise<EtcdCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'podwire-etcd-'));
  const ports = await freePorts(members * 3);
  const client = (at: number): number => ports[at]!;
  const peer = (at: number): string => `http://127.0.0.1:${ports[members + at]}`;
  const metrics = (at: number): number => ports[2 * members + at]!;
  const scheme = tls ? 'https' : 'http';
  const all = Array.from({ length: members }, (_, at) => at);
  const running = new Map<number, ChildProcess>();

  const start = async (at: number): Promise<void> => {
    const flags = {
      name: `m${at}`,
      'data-dir': join(folder, `m${at}`),
      'listen-client-urls': `${scheme}://${host}:${client(at)}`,
      'advertise-client-urls': `${scheme}://${host}:${client(at)}`,
      'listen-peer-urls': peer(at),
      'initial-advertise-peer-urls': peer(at),
      'initial-cluster': all.map((one) => `m${one}=${peer(one)}`).join(','),
      'listen-metrics-urls': `http://127.0.0.1:${metrics(at)}`,
      'initial-cluster-token': folder,
      'log-level': 'error',
      logger: 'zap',
      'log-outputs': join(folder, `m${at}.log`),
      ...(tls ? { 'trusted-ca-file': tls.ca, 'cert-file': tls.cert, 'key-file': tls.key } : {}),
    };
    const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
    if (tls) args.push('--client-cert-auth');
    const child = spawn(program()!, args, { stdio: 'ignore' });
    running.set(at, child);
    await healthy(metrics(at), child, join(folder, `m${at}.log`));
  };
  const kill = async (at: number): Promise<void> => {
    const child = running.get(at);
    running.delete(at);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  const stop = async (): Promise<void> => {
    await Promise.all(all.map(kill));
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await Promise.all(all.map(start));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    endpoints: all.map((at) => `${host}:${client(at)}`),
    leader: () => leaderOf(all.map(metrics)),
    kill,
    freeze: (at) => void running.get(at)?.kill('SIGSTOP'),
    thaw: (at) => void running.get(at)?.kill('SIGCONT'),
    restart: start,
    stop,
  };
}

/** The port is open before there is a leader; /health says when there is. */
async function healthy(port: number, child: ChildProcess, log: string): Promise<void> {
  for (const end = Date.now() + startMs; Date.now() < end; await sleep(20)) {
    if (child.exitCode !== null) throw new Error(`etcd ended at its start:\n${readFileSync(log, 'utf8')}`);
    const answer = await fetch(`http://127.0.0.1:${port}/health`).then(
      (reply) => reply.text(),
      () => '',
    );
    if (/"health":\s*"true"/.test(answer)) return;
  }
  throw new Error(`etcd was not healthy within ${startMs} ms`);
}

async function leaderOf(ports: readonly number[]): Promise<number> {
  for (const end = Date.now() + startMs; Date.now() < end; await sleep(50)) {
    const texts = await Promise.all(
      ports.map((port) =>
        fetch(`http://127.0.0.1:${port}/metrics`).then(
          (reply) => reply.text(),
          () => '',
        ),
      ),
    );
    const leader = texts.findIndex((text) => /^etcd_server_is_leader 1$/m.test(text));
    if (leader >= 0) return leader;
  }
  throw new Error(`no etcd leads within ${startMs} ms`);
}
