// The health of a node's network: probes of all peers, the condition NetworkUnavailable of its Node, and the report that
// `podwire network status` shows. Assumes the loop of the node network. One small write when the condition changes.
import type { Client } from '../../api/client.ts';
import { timestamp } from '../../api/time.ts';
import { messageOf } from '../../exec/errors.ts';
import type { NodeNetworkStatus, RunningNodeNetwork } from '../loop.ts';
import type { NodeNetworkLog } from '../types.ts';
import { isNetworkUnavailable } from './diagnose.ts';
import { HealthProber, type PeerHealth } from './prober.ts';

/** As JSON carries it. */
export interface NetworkReport {
  readonly node: string;
  readonly network: Omit<NodeNetworkStatus, 'underlay' | 'peers'> & {
    /** The link that the other nodes are reached by. */
    readonly device: string | undefined;
  };
  readonly peers: readonly PeerHealth[];
}

/** A report of each node that answers, and why the others do not. */
export interface NetworkStatus {
  readonly reports: readonly NetworkReport[];
  readonly silent: readonly { readonly node: string; readonly why: string }[];
}

export interface NetworkHealth {
  report(): NetworkReport;
  close(): void;
}

export interface NetworkHealthOptions {
  readonly client: Client;
  readonly nodeName: string;
  readonly network: RunningNodeNetwork;
  readonly log: NodeNetworkLog;
}

interface Condition {
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
}

const roundsToBelieve = 3;

export function startNetworkHealth(options: NetworkHealthOptions): NetworkHealth {
  const { client, nodeName, network, log } = options;
  let told: string | undefined;
  let badRounds = 0;
  let writing = false;
  const tell = async (condition: Condition): Promise<void> => {
    const text = JSON.stringify(condition);
    if (text === told || writing) return;
    writing = true;
    try {
      await writeCondition(client, nodeName, condition);
      told = text;
    } catch (error) {
      log.warn(`the condition NetworkUnavailable could not be written: ${messageOf(error)}; trying again`);
    } finally {
      writing = false;
    }
  };
  const prober = new HealthProber({
    nodeName,
    surroundings: () => network.surroundings(),
    onRound: (peers) => {
      const condition = conditionOf(peers);
      badRounds = condition.status === 'True' ? badRounds + 1 : 0;
      // A peer that has just come may not know us yet.
      if (badRounds === 0 || badRounds >= roundsToBelieve) void tell(condition);
    },
    onError: (error) => log.warn(`network health: ${messageOf(error)}`),
  });
  prober.start();
  return {
    report: () => {
      const { underlay, peers: _, ...status } = network.status();
      return { node: nodeName, network: { ...status, device: underlay?.device }, peers: prober.health() };
    },
    close: () => prober.close(),
  };
}

/** Reasons as cloud providers' route controllers write them. Pure. */
export function conditionOf(peers: readonly PeerHealth[]): Condition {
  const bad = peers.filter(({ cause }) => cause !== 'ok');
  const message = bad
    .map(({ message }) => message)
    .join('; ')
    .slice(0, 1000);
  if (isNetworkUnavailable(peers)) return { status: 'True', reason: 'PeersNotReached', message };
  const said =
    peers.length === 0
      ? 'this node is alone'
      : `${peers.length - bad.length} of ${peers.length} peers reached`;
  return {
    status: 'False',
    reason: 'RouteCreated',
    message: bad.length === 0 ? said : `${said}; ${message}`,
  };
}

async function writeCondition(client: Client, name: string, condition: Condition): Promise<void> {
  const node = await client.get('nodes', { name });
  const former = node.status?.conditions?.find(({ type }) => type === 'NetworkUnavailable');
  const now = timestamp(Date.now());
  const lastTransitionTime = former?.status === condition.status ? former.lastTransitionTime : now;
  const whole = { type: 'NetworkUnavailable', ...condition, lastHeartbeatTime: now, lastTransitionTime };
  const patch = { status: { conditions: [whole] } };
  await client.patch('nodes', { name }, patch, { type: 'strategic', subresource: 'status' });
}
