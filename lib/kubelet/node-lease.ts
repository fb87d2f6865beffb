// The node's heartbeat: its Lease in kube-node-lease, renewed every 10 s, much smaller than its Node.
// Assumes one kubelet a node name. Losing it costs nothing but what the servers then think of the node.
// One write of 300 bytes each 10 s. Source: kubelet's defaults (leaseDurationSeconds 40, renewed after a quarter of it).
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import { microTime } from '../api/time.ts';
import type { Lease, Node } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';

export const nodeLeaseNamespace = 'kube-node-lease';
export const nodeLeaseSeconds = 40;
const retryMs = { first: 200, longest: 7000 };

export interface NodeLeaseInput {
  readonly client: Client;
  /** The owner, as it is known just now. */
  readonly node: () => Node;
  /** How long it holds; renewed four times in that. Not more than the servers wait for a sign of life. */
  readonly seconds: number;
  readonly log: Logger;
  /** Ends the renewing; the Lease stays, and runs out. */
  readonly signal: AbortSignal;
}

/** Renews at once and from then on, in the background. */
export function keepNodeLease(input: NodeLeaseInput): void {
  const { node, seconds, log, signal } = input;
  let held: Lease | undefined;
  let wait = retryMs.first;
  let timer: NodeJS.Timeout | undefined;
  const turn = async (): Promise<void> => {
    let next = (seconds * 1000) / 4;
    try {
      held = await renew(input, node(), held);
      wait = retryMs.first;
    } catch (error) {
      held = undefined; // it is read again
      if (signal.aborted) return;
      log.warn({ err: error }, `node lease not renewed: ${messageOf(error)}`);
      next = wait;
      wait = Math.min(wait * 2, retryMs.longest);
    }
    if (!signal.aborted) timer = setTimeout(turn, next);
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  void turn();
}

/** Writes the Lease with the time of now; `held`: as it was written last. */
async function renew(
  input: Pick<NodeLeaseInput, 'client' | 'seconds'>,
  node: Node,
  held: Lease | undefined,
): Promise<Lease> {
  const { client, seconds } = input;
  const { name, uid } = node.metadata;
  const key = { namespace: nodeLeaseNamespace, name };
  const spec = {
    holderIdentity: name,
    leaseDurationSeconds: Math.ceil(seconds),
    renewTime: microTime(Date.now()),
  };
  try {
    const current = held ?? (await client.get('leases', key));
    return await client.update('leases', { ...current, spec: { ...current.spec, ...spec } });
  } catch (error) {
    if (held && (isReason(error, 'NotFound') || isReason(error, 'Conflict')))
      return renew(input, node, undefined);
    if (!isReason(error, 'NotFound')) throw error;
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name, uid }];
    const metadata = { ...key, ownerReferences };
    return client.create(
      'leases',
      { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec },
      { namespace: nodeLeaseNamespace },
    );
  }
}
