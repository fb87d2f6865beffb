// Asks every peer each few seconds, straight and through the overlay, and answers those who ask; keeps what the last round brought.
// Assumes the node's address and its overlay address. Three sockets for all peers; four small datagrams and a full one a peer and round.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { uncheckedSocket } from './unchecked.ts';
import { type Diagnosis, diagnose, type Observation } from './diagnose.ts';
import type { HealthPeer, Surroundings } from './surroundings.ts';
import {
  type Answer,
  decode,
  encodeAnswer,
  encodeQuestion,
  type Question,
  smallSize,
  underlaySize,
  type Way,
} from './messages.ts';

export const healthPort = 10_254;

export interface PeerHealth extends Diagnosis {
  readonly peer: string;
  readonly address: string;
  readonly overlayAddress: string;
  /** Milliseconds of the small packet's way through the overlay and back. */
  readonly rttMs?: number;
}

export interface ProberOptions {
  readonly nodeName: string;
  /** undefined while the node has no network yet. */
  readonly surroundings: () => Surroundings | undefined;
  /** Told after each round. */
  readonly onRound?: (health: readonly PeerHealth[]) => void;
  readonly onError?: (error: unknown) => void;
  /** Milliseconds to wait for answers; 1000 unless told. */
  readonly timeoutMs?: number;
  /** A second port, one higher, is for packets without checksum. */
  readonly port?: number;
}

/** What is known of one peer in the round under way. */
interface Asked {
  readonly peer: HealthPeer;
  readonly sentAt: number;
  readonly answered: Set<'underlay' | 'small' | 'full' | 'unchecked'>;
  told?: Answer;
  rttMs?: number;
}

export class HealthProber {
  readonly #options: Required<ProberOptions>;
  readonly #sockets = new Map<Way, { address: string; socket: Socket }>();
  readonly #asked = new Map<string, Asked>();
  /** The newest rounds that came to us through the overlay, by who asked. */
  readonly #heard = new Map<string, { overlay: number; unchecked: number }>();
  #round = 0;
  #timer: NodeJS.Timeout | undefined;
  #health: readonly PeerHealth[] = [];
  #now: Surroundings | undefined;
  #known: ReadonlySet<string> = new Set();
  #closed = false;

  constructor(options: ProberOptions) {
    const defaults = {
      timeoutMs: 1000,
      port: healthPort,
      onRound: () => {},
      onError: () => {},
    };
    this.#options = { ...defaults, ...options };
  }

  start(): void {
    const again = (): void => {
      if (this.#closed) return;
      const began = Date.now();
      this.probe()
        .catch((error) => this.#options.onError(error))
        .finally(() => {
          if (this.#closed) return;
          const left = intervalMs(this.#health) - (Date.now() - began);
          this.#timer = setTimeout(again, Math.max(left, 0)).unref();
        });
    };
    again();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#closeSockets();
  }

  #closeSockets(): void {
    for (const { socket } of this.#sockets.values()) socket.close();
    this.#sockets.clear();
  }

  /** Of the last whole round. */
  health(): readonly PeerHealth[] {
    return this.#health;
  }

  /** One round: asks all, waits, and tells what it means. */
  async probe(): Promise<readonly PeerHealth[]> {
    const now = this.#options.surroundings();
    this.#now = now;
    if (!now) return this.#health;
    this.#known = new Set(now.peers.map(({ name }) => name));
    for (const name of this.#heard.keys()) if (!this.#known.has(name)) this.#heard.delete(name);
    if (now.peers.length > 0) await this.#listen(now);
    else this.#closeSockets(); // a machine on its own opens no port
    this.#round++;
    this.#asked.clear();
    for (const peer of now.peers) this.#ask(peer, now);
    if (now.peers.length > 0) await this.#wait();
    if (this.#closed) return this.#health;
    this.#health = [...this.#asked.values()].map((asked) => this.#judge(asked, now));
    this.#options.onRound(this.#health);
    return this.#health;
  }

  /** Until all have answered, or the time is over. */
  async #wait(): Promise<void> {
    const until = Date.now() + this.#options.timeoutMs;
    const isWhole = (): boolean =>
      [...this.#asked.values()].every(({ answered }) =>
        ['underlay', 'small', 'full'].every((one) => answered.has(one as 'full')),
      );
    do await new Promise((resolve) => setTimeout(resolve, 10));
    while (!this.#closed && Date.now() < until && !isWhole());
  }

  #ask(peer: HealthPeer, { mtu }: Surroundings): void {
    this.#asked.set(peer.name, { peer, sentAt: performance.now(), answered: new Set() });
    this.#send('underlay', underlaySize, peer.address);
    this.#send('overlay', smallSize, peer.overlayAddress);
    this.#send('overlay', fullPayload(mtu, peer.overlayAddress), peer.overlayAddress);
    this.#send('unchecked', smallSize, peer.overlayAddress);
  }

  #send(way: Way, size: number, address: string): void {
    const question: Question = { from: this.#options.nodeName, round: this.#round, way, size };
    const port = this.#portOf(way);
    // What cannot be sent (no route, too large) is not answered, and that is what is judged.
    this.#sockets.get(way)?.socket.send(encodeQuestion(question), port, address, () => {});
  }

  #portOf = (way: Way): number => this.#options.port + (way === 'unchecked' ? 1 : 0);

  /** Sockets follow the node's addresses, which may come late or change. */
  async #listen({ address, overlayAddress }: Surroundings): Promise<void> {
    const wanted: [Way, string][] = [
      ['underlay', address],
      ['overlay', overlayAddress],
      // A zero checksum is not allowed in IPv6 (RFC 8200 section 8.1).
      ...(isIPv6(overlayAddress) ? [] : ([['unchecked', overlayAddress]] as [Way, string][])),
    ];
    for (const [way, at] of wanted) {
      if (this.#sockets.get(way)?.address === at) continue;
      this.#sockets.get(way)?.socket.close();
      this.#sockets.delete(way);
      try {
        this.#sockets.set(way, { address: at, socket: await this.#open(way, at) });
      } catch (error) {
        this.#options.onError(error);
      }
    }
  }

  async #open(way: Way, address: string): Promise<Socket> {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
    const port = this.#portOf(way);
    const where = way === 'unchecked' ? { fd: uncheckedSocket(address, port) } : { address, port };
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ ...where, exclusive: true }, () => {
        socket.off('error', reject);
        resolve();
      });
    });
    socket.on('error', (error) => this.#options.onError(error));
    socket.on('message', (bytes, from) => this.#receive(socket, bytes, from));
    socket.unref();
    return socket;
  }

  #receive(socket: Socket, bytes: Buffer, from: RemoteInfo): void {
    const message = decode(bytes);
    if (!message) return;
    if ('answer' in message) this.#takeAnswer(message.answer);
    else if (this.#known.has(message.question.from)) this.#answer(socket, message.question, from);
  }

  #answer(socket: Socket, question: Question, from: RemoteInfo): void {
    const heard = this.#heard.get(question.from) ?? { overlay: 0, unchecked: 0 };
    if (question.way !== 'underlay')
      this.#heard.set(question.from, { ...heard, [question.way]: question.round });
    const lacks = question.way === 'underlay' ? (this.#now?.lacks(question.from) ?? []) : [];
    const answer: Answer = { ...question, from: this.#options.nodeName, heard, lacks };
    socket.send(encodeAnswer(answer), from.port, from.address, () => {});
  }

  #takeAnswer(answer: Answer): void {
    const asked = this.#asked.get(answer.from);
    if (!asked || answer.round !== this.#round) return;
    if (answer.way === 'underlay') asked.told = answer;
    const small = answer.size <= smallSize;
    if (answer.way === 'overlay' && small) asked.rttMs ??= performance.now() - asked.sentAt;
    asked.answered.add(answer.way === 'overlay' ? (small ? 'small' : 'full') : answer.way);
  }

  #judge({ peer, answered, told, rttMs }: Asked, now: Surroundings): PeerHealth {
    const came = (what: 'underlay' | 'small' | 'full' | 'unchecked') =>
      answered.has(what) ? 'answered' : 'silent';
    const heardOf = Math.max(told?.heard.overlay ?? 0, told?.heard.unchecked ?? 0);
    const observation: Observation = {
      peer: peer.name,
      peerAddress: peer.address,
      underlay: came('underlay'),
      small: came('small'),
      full: came('full'),
      unchecked: this.#sockets.has('unchecked') ? came('unchecked') : 'untried',
      heard: told ? (isOfLate(heardOf, this.#round) ? 'yes' : 'no') : 'unknown',
      lacksHere: now.lacks(peer.name),
      lacksThere: told?.lacks ?? [],
      mtu: now.mtu,
      carrier: now.carrier,
    };
    const { name, address, overlayAddress } = peer;
    return {
      peer: name,
      address,
      overlayAddress,
      ...diagnose(observation),
      ...(rttMs === undefined ? {} : { rttMs }),
    };
  }
}

/**
 * The question over the underlay may overtake those through the overlay: the round before counts, too. A later one is from
 * before this node's restart.
 */
const isOfLate = (heard: number, round: number): boolean => heard > 0 && heard >= round - 1 && heard <= round;

/** From round to round: sooner while something is wrong, later where there are many to ask; a round asks each peer four times. */
export function intervalMs(health: readonly PeerHealth[]): number {
  const well = health.every(({ cause }) => cause === 'ok');
  return Math.min(Math.max(well ? 2000 : 1000, health.length * 10), 10_000);
}

/** Bytes of payload of a packet that fills the MTU: less the IP header (20, 40) and UDP's (8). */
export const fullPayload = (mtu: number, address: string): number => mtu - (isIPv6(address) ? 40 : 20) - 8;
