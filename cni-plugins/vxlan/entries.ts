// What the VTEP must know of each peer: a route a subnet, by a gateway that is that peer's VTEP; the gateway's MAC; and the
// machine behind that MAC. Compared with what the kernel has in lib/kernel/overlay.ts. Pure; linear in peers.
import { formatCidr, formatIp } from '../../lib/cni/address.ts';
import type { Entries } from '../../lib/kernel/overlay.ts';
import type { Peer } from './peers.ts';
import { gatewayOf } from './vtep.ts';

export function entriesOf(peers: readonly Peer[]): Entries {
  const nets = peers.flatMap((peer) => peer.subnets.map((net) => ({ net, mac: peer.mac })));
  return {
    routes: new Map(nets.map(({ net }) => [formatCidr(net), gatewayOf(net)])),
    neighbours: new Map(nets.map(({ net, mac }) => [gatewayOf(net), mac])),
    fdb: new Map(peers.map(({ mac, publicIP }) => [mac, formatIp(publicIP)])),
  };
}
