// From what came back and what did not to a cause that a person can act on. Assumes one round of probes of one peer. Pure.

/** What one round of probes of a peer brought. */
export interface Observation {
  readonly peer: string;
  readonly peerAddress: string;
  readonly underlay: 'answered' | 'silent';
  /** Through the overlay, small packets. */
  readonly small: 'answered' | 'silent';
  /** As large as the overlay's MTU carries. */
  readonly full: 'answered' | 'silent';
  /** Small, without a UDP checksum; 'untried' where there is none to leave out (IPv6). */
  readonly unchecked: 'answered' | 'silent' | 'untried';
  /** Whether the peer, asked over the underlay, says that our overlay packets of this round or the last arrived. */
  readonly heard: 'yes' | 'no' | 'unknown';
  /** What this node's kernel lacks to reach the peer. */
  readonly lacksHere: readonly string[];
  /** What the peer says that its kernel lacks to reach this node. */
  readonly lacksThere: readonly string[];
  /** Bytes of a whole packet in the overlay. */
  readonly mtu: number;
  /** What carries the overlay over the underlay, e.g. `udp port 8472`. */
  readonly carrier: string;
}

export type Cause =
  | 'ok'
  | 'unreachable'
  | 'routes-here'
  | 'routes-there'
  | 'checksum'
  | 'mtu'
  | 'blocked'
  | 'blocked-back'
  | 'silent';

export interface Diagnosis {
  readonly cause: Cause;
  /** What is wrong, where, and what to do; '' when all is well. */
  readonly message: string;
}

/** The first cause that explains it all, from the nearest to the farthest. */
export function diagnose(seen: Observation): Diagnosis {
  const { peer, peerAddress, carrier, mtu } = seen;
  const passes = seen.small === 'answered';
  if (passes && seen.full === 'answered') return { cause: 'ok', message: '' };
  if (passes)
    return {
      cause: 'mtu',
      message: `packets of ${mtu} bytes do not reach ${peer}, small ones do: a link on the way to ${peerAddress} has a smaller MTU than this node's; set the same MTU on all nodes' links`,
    };
  if (seen.unchecked === 'answered')
    return {
      cause: 'checksum',
      message: `${peer} drops packets whose UDP checksum the device should have filled in: switch it off on the underlay's device (ethtool -K DEVICE tx-checksum-ip-generic off)`,
    };
  if (seen.underlay === 'silent')
    return {
      cause: 'unreachable',
      message: `${peer} does not answer at ${peerAddress}: is it up, and is there a way to it?`,
    };
  if (seen.lacksHere.length > 0)
    return { cause: 'routes-here', message: `this node lacks: ${seen.lacksHere.join('; ')}` };
  if (seen.lacksThere.length > 0)
    return { cause: 'routes-there', message: `${peer} lacks: ${seen.lacksThere.join('; ')}` };
  if (seen.heard === 'no')
    return {
      cause: 'blocked',
      message: `${peer} answers at ${peerAddress}, but nothing sent to it by ${carrier} arrives there: let ${carrier} from this node to ${peerAddress} pass the firewalls`,
    };
  if (seen.heard === 'yes')
    return {
      cause: 'blocked-back',
      message: `${peer} hears this node through the overlay, but its answers are lost: let ${carrier} from ${peerAddress} to this node pass the firewalls`,
    };
  return { cause: 'silent', message: `${peer} answers at ${peerAddress}, but not through the overlay` };
}

/** Whether a node's own network is to blame: most of the peers that are there are not reached through the overlay. */
export function isNetworkUnavailable(diagnoses: readonly Diagnosis[]): boolean {
  const there = diagnoses.filter(({ cause }) => cause !== 'unreachable');
  const bad = there.filter(({ cause }) => cause !== 'ok');
  return bad.length * 2 > there.length;
}
