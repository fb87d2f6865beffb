// Nodes as namespaces on one switch, each with its network loop as a process of its own, against one real API in this
// process; Pods as namespaces behind the node's bridge. Everything goes with close(), which tells what would be left.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { NodeNetworkStatus } from '../../../lib/node-network/loop.ts';
import { bridgeName } from '../../../lib/node-network/conflist.ts';
import type { BackendConfig } from '../../../lib/node-network/types.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { startServer } from '../../unit/apiserver/fixtures.ts';
import type { ChildInput } from './node-child.ts';

const child = join(import.meta.dirname, 'node-child.ts');
export const clusterCidrs = ['10.244.0.0/16', 'fd00:244::/48'];
/** Node objects as the test wants them: what is not told follows from the number. */
export interface NodeShape {
  readonly podCIDRs?: readonly string[];
  readonly addresses?: readonly string[];
  readonly annotations?: Record<string, string>;
}

export type World = Awaited<ReturnType<typeof makeWorld>>;
let worlds = 0;
const open = new Set<() => void>();
process.once('exit', () => {
  for (const close of open) close();
});

export const podCidrs = (number: number): string[] => [`10.244.${number}.0/24`, `fd00:244:0:${number}::/64`];
export const addresses = (number: number): string[] => [`192.0.2.${number}`, `2001:db8::${number}`];

export async function makeWorld(count: number) {
  const stem = `pwn${process.pid}-${worlds++}`;
  const dir = mkdtempSync(join(tmpdir(), 'podwire-nodes-'));
  const server = await startServer();
  const spaces: string[] = [];
  const children = new Set<ChildProcess>();
  const batch = (netns: string | undefined, text: string): void => {
    execFileSync('ip', [...(netns ? ['-n', netns] : []), '-batch', '-'], { input: text });
  };
  const makeSpace = (name: string): string => {
    batch(undefined, `netns add ${stem}-${name}\n`);
    spaces.push(`${stem}-${name}`);
    batch(`${stem}-${name}`, 'link set lo up\n');
    return `${stem}-${name}`;
  };
  const remove = (): void => {
    for (const one of children) one.kill('SIGKILL');
    for (const name of spaces.splice(0)) execFileSync('ip', ['netns', 'del', name]);
    rmSync(dir, { recursive: true, force: true });
  };
  open.add(remove);
  const wire = makeSpace('sw');
  batch(wire, 'link add name sw type bridge\nlink set sw up\n');
  const netns = (number: number): string => `${stem}-n${number}`;
  const root = (number: number): string => join(dir, `n${number}`);
  const inside = (space: string, ...argv: string[]): string =>
    execFileSync('nsenter', [`--net=/run/netns/${space}`, ...argv], { encoding: 'utf8', stdio: 'pipe' });
  for (let number = 1; number <= count; number++) {
    const node = makeSpace(`n${number}`);
    batch(
      node,
      `link add eth0 type veth peer name p${number} netns ${wire}
addr add 192.0.2.${number}/24 dev eth0
addr add 2001:db8::${number}/64 dev eth0 nodad
link set eth0 up\n`,
    );
    batch(wire, `link set p${number} master sw up\n`);
    for (const folder of ['run', 'state'] as const)
      mkdirSync(nodePaths(root(number))[folder], { recursive: true });
  }

  /** Creates the Node, or changes it. */
  async function putNode(number: number, shape: NodeShape = {}): Promise<void> {
    const name = `n${number}`;
    const cidrs = [...(shape.podCIDRs ?? podCidrs(number))];
    const spec = cidrs.length > 0 ? { podCIDR: cidrs[0], podCIDRs: cidrs } : {};
    const annotations = shape.annotations ?? {};
    const { client } = server;
    const known = await client.get('nodes', { name }).catch(() => undefined);
    if (known) await client.patch('nodes', { name }, { metadata: { annotations }, spec });
    else
      await client.create('nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name, annotations }, spec });
    const status = {
      addresses: (shape.addresses ?? addresses(number)).map((address) => ({ type: 'InternalIP', address })),
    };
    await client.patch('nodes', { name }, { status }, { subresource: 'status' });
  }

  /** Starts a node's loop; resolves when it has started, rejects with what it said otherwise. */
  async function start(
    number: number,
    backend: BackendConfig = { name: 'vxlan' },
    own = addresses(number),
    socket = server.socket,
  ) {
    const input: ChildInput = {
      root: root(number),
      socket,
      name: `n${number}`,
      addresses: own,
      backend,
      clusterCidrs,
    };
    const argv = [`--net=/run/netns/${netns(number)}`, process.execPath, child, JSON.stringify(input)];
    const process_ = spawn('nsenter', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    children.add(process_);
    const log: string[] = [];
    const answers: Array<(value: unknown) => void> = [];
    const told = new Promise<number>((resolve, reject) => {
      createInterface({ input: process_.stdout }).on('line', (line) => {
        const { log: text, started, answer, failed, message } = JSON.parse(line);
        if (text !== undefined) log.push(text);
        if (started !== undefined) resolve(started);
        if (answer !== undefined) answers.shift()?.(answer);
        if (message !== undefined) reject(Object.assign(new Error(message), { code: failed }));
      });
    });
    const startMs = await told;
    const ask = <T>(wish: string): Promise<T> =>
      new Promise((resolve) => {
        answers.push(resolve as (value: unknown) => void);
        process_.stdin.write(`${wish}\n`);
      });
    const end = async (signal?: NodeJS.Signals): Promise<void> => {
      children.delete(process_);
      const gone = once(process_, 'exit');
      if (signal) process_.kill(signal);
      else process_.stdin.end();
      await gone;
    };
    return {
      number,
      startMs,
      log,
      netns: netns(number),
      status: () => ask<NodeNetworkStatus & { notReady?: string }>('status'),
      resync: () => ask('resync'),
      /** Takes the node's network away. */
      remove: () => ask('remove'),
      end,
    };
  }

  /** A Pod on a node, as the bridge plugin would attach it: .2, behind the bridge with .1. */
  function pod(number: number, mtu = 1450): string {
    const name = makeSpace(`p${number}`);
    const node = netns(number);
    const bridge = bridgeName(nodePaths(root(number)).tag);
    batch(
      node,
      `link add name ${bridge} type bridge
link set ${bridge} up
addr add 10.244.${number}.1/24 dev ${bridge}
addr add fd00:244:0:${number}::1/64 dev ${bridge} nodad
link add name v0 mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${name}
link set v0 master ${bridge} up\n`,
    );
    batch(
      name,
      `addr add 10.244.${number}.2/24 dev eth0
addr add fd00:244:0:${number}::2/64 dev eth0 nodad
link set eth0 up
route add default via 10.244.${number}.1
route add default via fd00:244:0:${number}::1\n`,
    );
    return name;
  }

  return {
    client: server.client,
    socket: server.socket,
    registry: server.registry,
    dir,
    netns,
    root,
    inside,
    batch,
    makeSpace,
    putNode,
    start,
    pod,
    async close(): Promise<void> {
      open.delete(remove);
      for (const one of children) one.kill('SIGKILL');
      remove();
      await server.close();
    },
  };
}

const flowCode = `
const [to] = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp4');
let sent = 0, received = 0, ended = false;
socket.on('message', () => { if (received++ === 0) console.log('flows'); });
const timer = setInterval(() => { sent++; socket.send('x', 7000, to); }, 5);
process.stdin.on('data', () => {
  if (ended) return;
  ended = true;
  clearInterval(timer);
  const from = Date.now();
  setInterval(() => { // the last answers may be on the way
    if (received < sent && Date.now() - from < 5000) return;
    console.log(JSON.stringify({ sent, received }));
    process.exit(0);
  }, 20);
});
process.stdin.on('end', () => process.exit(1));
`;

/** Datagrams every 5 ms to a listener (cni/echo.ts) in another namespace, until they are counted; they flow when it resolves. */
export async function startFlow(
  netns: string,
  to: string,
): Promise<() => Promise<{ sent: number; received: number }>> {
  const argv = [`--net=/run/netns/${netns}`, process.execPath, '-e', flowCode, to];
  const flow = spawn('nsenter', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: flow.stdout });
  await once(lines, 'line');
  return async () => {
    flow.stdin.write('\n');
    const [line] = await once(lines, 'line');
    return JSON.parse(String(line));
  };
}
