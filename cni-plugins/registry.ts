// All plugins of the one executable, by their type. A new plugin is one line here; the build takes the links' names
// from this table. Assumes that importing a plugin does nothing but define it: one run uses one or two of them.
import { bandwidth } from './bandwidth/bandwidth.ts';
import { bridge } from './bridge/bridge.ts';
import { firewall } from './firewall/firewall.ts';
import { hostLocal } from './host-local/host-local.ts';
import { loopback } from './loopback/loopback.ts';
import { portmap } from './portmap/portmap.ts';
import { macvlan } from './macvlan/macvlan.ts';
import { ptp } from './ptp/ptp.ts';
import type { Plugin } from './skel/skel.ts';
import { staticPlugin } from './static/static.ts';
import { tuning } from './tuning/tuning.ts';
import { vlan } from './vlan/vlan.ts';
import { vxlan } from './vxlan/vxlan.ts';

export const plugins: Readonly<Record<string, Plugin>> = {
  [bridge.type]: bridge,
  [hostLocal.type]: hostLocal,
  [loopback.type]: loopback,
  [macvlan.type]: macvlan,
  [ptp.type]: ptp,
  [staticPlugin.type]: staticPlugin,
  [vlan.type]: vlan,
  [vxlan.type]: vxlan,
  [portmap.type]: portmap,
  [firewall.type]: firewall,
  [tuning.type]: tuning,
  [bandwidth.type]: bandwidth,
};
