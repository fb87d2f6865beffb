// Faults at random moments: containers, conmons, pauses, OCI runtimes and the daemon are killed, Pods come and go, several
// at once; the Pods converge to their spec and nothing is left. Told by the kernel (kernel-facts.ts), not by podwire.
// PODWIRE_CHAOS_SEED repeats a run (as far as time allows), PODWIRE_CHAOS_ROUNDS makes it longer or shorter.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { stringify } from 'yaml';
import type { Pod } from '../../lib/api/types.ts';
import { runtimeUid } from '../../lib/kubelet/layout.ts';
import { Chance, faultsAtRest, isOver, isReady, netnsOf, statusesOf } from './chaos.ts';
import { type ChaosPod, chaosPods, readStarts, staticChaosPod } from './chaos-pods.ts';
import { processesOf, sleep, startNode, type TestNode } from './harness.ts';
import { until } from '../until.ts';
import { cgroupsOf, type KernelFacts, kernelFacts } from './kernel-facts.ts';

const rounds = Number(process.env.PODWIRE_CHAOS_ROUNDS ?? 300);
const roundsBetweenRests = 30;
const prefix = 'cz';
const hostPort = 30_181;

type Fault = keyof typeof weights;
const weights = {
  killContainer: 22,
  killConmon: 10,
  killPause: 8,
  killDaemon: 14,
  killRuntime: 12,
  deletePod: 14,
  deleteAndKillDaemon: 5,
  removeManifest: 4,
  nothing: 6,
};

/** What is remembered of a Pod from one rest to the next. */
interface Known {
  readonly netns: string;
  readonly ip: string;
}

class Chaos {
  readonly #t: Test;
  readonly #node: TestNode;
  readonly #chance: Chance;
  readonly #starts: string;
  readonly #pods: readonly ChaosPod[];
  readonly #manifest: string;
  readonly #restarts = new Map<string, number>();
  readonly #wrong = new Set<string>();
  #known = new Map<string, Known>();
  /** Uids of Pods whose pause was killed since the last rest. */
  readonly #unheld = new Set<string>();
  readonly counts: Partial<Record<Fault, number>> = {};
  #generation = 0;
  #down = false;
  #trail: string[] = [];

  constructor(t: Test, node: TestNode, chance: Chance) {
    this.#t = t;
    this.#node = node;
    this.#chance = chance;
    this.#starts = join(node.paths.root, 'starts');
    mkdirSync(this.#starts);
    this.#pods = chaosPods({ prefix, folder: this.#starts, hostPort });
    this.#manifest = join(node.paths.manifests, 'chaos.yaml');
    this.#writeManifest();
  }

  #writeManifest(): void {
    writeFileSync(this.#manifest, stringify(staticChaosPod(prefix, this.#starts, this.#generation++)));
  }

  /** One round: one fault or several at once, then a moment. */
  async round(): Promise<void> {
    const several = this.#chance.next() < 0.2 ? 2 + this.#chance.below(3) : 1;
    const chosen = Array.from({ length: several }, () => this.#chance.choose(weights));
    const up = this.#down && this.#chance.next() < 0.7 ? [this.#up()] : [];
    await Promise.all([...up, ...chosen.map((fault) => this.#inflict(fault))]);
    await this.#createMissing();
    await sleep(this.#chance.below(160));
  }

  async #inflict(fault: Fault): Promise<void> {
    this.counts[fault] = (this.counts[fault] ?? 0) + 1;
    this.#trail.push(fault);
    if (fault === 'killContainer') this.#kill((group) => group !== 'pause');
    else if (fault === 'killPause') this.#kill((group) => group === 'pause');
    else if (fault === 'killConmon') this.#signal(this.#processes('conmon'));
    else if (fault === 'killRuntime') await this.#killRuntime();
    else if (fault === 'killDaemon') await this.#killDaemon();
    else if (fault === 'deletePod') await this.#deletePod();
    else if (fault === 'deleteAndKillDaemon') {
      await this.#deletePod();
      await sleep(this.#chance.below(60));
      await this.#killDaemon();
    } else if (fault === 'removeManifest') {
      rmSync(this.#manifest, { force: true });
      await sleep(this.#chance.below(120));
      this.#writeManifest();
    }
  }

  /** One process of a group, or all. */
  #kill(which: (group: string) => boolean): void {
    const cgroups = cgroupsOf(this.#node.paths.cgroup);
    const groups = Object.entries(cgroups).flatMap(([pod, all]) =>
      Object.entries(all).flatMap(([group, pids]) =>
        which(group) && pids.length > 0 ? [{ pod, group, pids }] : [],
      ),
    );
    const victim = this.#chance.of(groups);
    if (!victim) return;
    if (victim.group === 'pause') this.#unheld.add(victim.pod.slice(3));
    // In a shared pid namespace the end of its pid 1 is the end of all; that one is in the group of pause.
    this.#signal(victim.pids, this.#chance.next() < 0.5 ? 'one' : 'all');
  }

  #signal(pids: readonly number[], how: 'one' | 'all' = 'one'): void {
    const victims = how === 'all' ? pids : [this.#chance.of(pids)].filter((pid) => pid !== undefined);
    for (const pid of victims)
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it has ended meanwhile
      }
  }

  /** Of this node, by the name of their program. */
  #processes(...programs: string[]): number[] {
    return processesOf(this.#node.paths.root).filter((pid) => {
      try {
        const [program = ''] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return programs.some((name) => program.endsWith(name));
      } catch {
        return false;
      }
    });
  }

  /** An OCI runtime in the middle of a start: something is made to start, and the first that shows up is killed. */
  async #killRuntime(): Promise<void> {
    this.#kill((group) => group !== 'pause');
    const after = this.#chance.below(3);
    let seen = 0;
    for (const end = Date.now() + 120; Date.now() < end; await sleep(1)) {
      const found = this.#processes('crun', 'runc');
      if (found.length === 0 || seen++ < after) continue;
      return this.#signal(found);
    }
  }

  async #killDaemon(): Promise<void> {
    if (this.#down) return;
    this.#down = true;
    await this.#node.kill9();
    if (this.#chance.next() < 0.6) await this.#up();
  }

  async #up(): Promise<void> {
    await this.#node.up();
    this.#down = false;
  }

  async #deletePod(): Promise<void> {
    const { name } = this.#chance.of(this.#pods)!.metadata;
    const grace = this.#chance.of([undefined, 0, 1]);
    const options = grace === undefined ? {} : { gracePeriodSeconds: grace };
    await this.#ask(() => this.#node.client.delete('pods', { namespace: 'default', name }, options));
  }

  /** What the daemon cannot answer while it is down, or refuses because it is so already, is asked again later. */
  async #ask<T>(work: () => Promise<T>): Promise<T | undefined> {
    return this.#down ? undefined : work().catch(() => undefined);
  }

  async #list(): Promise<Pod[] | undefined> {
    const list = await this.#ask(() => this.#node.client.list('pods', { namespace: 'default' }));
    if (list) this.#watchCounts(list.items);
    return list?.items;
  }

  /** Of what is over, too: it is deleted, and made again when it is gone. */
  async #createMissing(): Promise<void> {
    const there = await this.#list();
    if (!there) return;
    for (const pod of this.#pods) {
      const found = there.find(({ metadata }) => metadata.name === pod.metadata.name);
      if (!found) await this.#ask(() => this.#node.client.create('pods', pod, { namespace: 'default' }));
      else if (isOver(found) && !found.metadata.deletionTimestamp)
        await this.#ask(() =>
          this.#node.client.delete('pods', { namespace: 'default', name: pod.metadata.name }),
        );
    }
  }

  /** Restart counts never fall, and a Pod that restarts nothing has none. */
  #watchCounts(pods: readonly Pod[]): void {
    for (const pod of pods)
      for (const { name, restartCount = 0 } of statusesOf(pod)) {
        const key = `${runtimeUid(pod)}.${name}`;
        const before = this.#restarts.get(key) ?? 0;
        if (restartCount < before)
          this.#wrong.add(`${pod.metadata.name}/${name}: restarts ${before}, then ${restartCount}`);
        this.#restarts.set(key, restartCount);
        if (pod.spec.restartPolicy === 'Never' && restartCount > 0)
          this.#wrong.add(`${pod.metadata.name}/${name}: restarted, ${restartCount} times`);
      }
  }

  /** Of Pods that are there: what one that is gone was told to have last may be out of date. */
  #startsTold(pods: readonly Pod[]): string[] {
    const starts = readStarts(this.#starts);
    return pods.flatMap((pod) =>
      statusesOf(pod).flatMap(({ name, restartCount = 0 }) => {
        const times = starts.get(`${runtimeUid(pod)}.${name}`) ?? [];
        const told = `${pod.metadata.name}/${name}: started at ${times.join(', ')} s, ${restartCount} restarts told`;
        return times.length <= restartCount + 1 ? [] : [told];
      }),
    );
  }

  /** Waits until all is as it must be; the first look goes without a restart of the daemon, so a back-off may stand. */
  async rest(): Promise<void> {
    if (this.#down) await this.#up();
    await this.#untilNoFault('without a restart', isSettled);
    await this.#node.kill9();
    await this.#node.up();
    const facts = await this.#untilNoFault('with all Pods ready', isReady);
    for (const line of this.#wrong) this.#t.fail(line);
    this.#wrong.clear();
    this.#sameSandboxes(facts);
    this.#unheld.clear();
    this.#trail = [];
    let greeting = '';
    await until(async () => {
      greeting = await greetingOf(hostPort); // it listens a moment after it runs
      return greeting === 'hello';
    });
    this.#t.equal(greeting, 'hello', 'the host port answers');
  }

  /** Who was not deleted and whose pause was not killed is where it was. */
  #sameSandboxes({ pods, facts }: { pods: readonly Pod[]; facts: KernelFacts }): void {
    const now = new Map<string, Known>();
    for (const pod of pods) {
      const uid = runtimeUid(pod);
      const [netns = ''] = netnsOf(facts, pod.metadata.name);
      now.set(uid, { netns, ip: pod.status?.podIP ?? '' });
      const before = this.#known.get(uid);
      if (before && !this.#unheld.has(uid))
        this.#t.same(now.get(uid), before, `${pod.metadata.name} is where it was`);
    }
    this.#known = now;
  }

  async #untilNoFault(
    what: string,
    met: (pod: Pod | undefined) => boolean,
  ): Promise<{ pods: Pod[]; facts: KernelFacts }> {
    const limit = 60_000;
    const wanted = [...this.#pods.map(({ metadata }) => metadata.name), `${prefix}-static-n1`];
    let faults: string[] = [];
    for (const end = Date.now() + limit; Date.now() < end; await sleep(40)) {
      await this.#createMissing();
      const pods = (await this.#list()) ?? [];
      const named = (name: string): Pod | undefined => pods.find(({ metadata }) => metadata.name === name);
      const late = wanted.filter((name) => !met(named(name)) || named(name)?.metadata.deletionTimestamp);
      const told = (name: string): string => `${name}: ${JSON.stringify(named(name)?.status)}`;
      faults = [...late.map(told), ...this.#startsTold(pods)];
      if (faults.length > 0) continue;
      const facts = await kernelFacts(this.#node.paths.root);
      faults = faultsAtRest(pods, facts, (name) => name.startsWith(`${prefix}-`));
      if (faults.length === 0) return { pods, facts };
    }
    const { stdout } = await this.#node.podwire(['get', 'events']);
    const log = readFileSync(join(this.#node.paths.logs, 'podwired.log'), 'utf8').split('\n').slice(-60);
    throw new Error(
      `seed ${this.#chance.seed}, ${what}, after ${limit / 1000} s:\n${faults.join('\n')}\nfaults since the last rest: ${this.#trail.join(' ')}\n${stdout.split('\n').slice(-40).join('\n')}\n${readFileSync('/proc/uptime', 'utf8')}${log.join('\n')}`,
    );
  }
}

/** Ready, or waiting for its back-off and nothing else. */
function isSettled(pod: Pod | undefined): boolean {
  if (!pod?.status?.phase || pod.status.phase === 'Pending' || isOver(pod)) return false;
  return statusesOf(pod).every(
    ({ name, state, ready }) =>
      (state?.running && (ready || pod.metadata.name !== `${prefix}-probe`)) ||
      state?.waiting?.reason === 'CrashLoopBackOff' ||
      (name === 'first' && state?.terminated),
  );
}

function greetingOf(port: number): Promise<string> {
  return new Promise((resolve) => {
    let said = '';
    const socket = connect(port, '10.213.0.1');
    socket.setTimeout(3000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (data) => (said += data));
    socket.on('error', (error) => resolve(String(error)));
    socket.on('close', () => resolve(said));
  });
}

t.test('Pods converge, whatever is killed', async (t) => {
  const chance = Chance.given();
  t.comment(`seed ${chance.seed} (PODWIRE_CHAOS_SEED=${chance.seed} repeats it), ${rounds} rounds`);
  const node = await startNode(t, {
    podCidr: '10.213.0.0/24',
    flags: ['--node-name', 'n1'],
    runtime: 'crun',
  });
  const chaos = new Chaos(t, node, chance);
  const began = Date.now();
  const rests: number[] = [];
  const rest = async (): Promise<void> => {
    const start = Date.now();
    await chaos.rest();
    rests.push(Date.now() - start);
  };
  for (let round = 0; round < rounds; round += 1) {
    await chaos.round();
    if (round % roundsBetweenRests === roundsBetweenRests - 1) await rest();
  }
  if (rounds % roundsBetweenRests > 0) await rest();
  t.comment(
    `${rounds} rounds in ${((Date.now() - began) / 1000).toFixed(1)} s, rests of ${rests.join(', ')} ms: ${JSON.stringify(chaos.counts)}`,
  );
});
