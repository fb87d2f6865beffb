// How plugins change links, addresses and routes: the one place that picks the implementation. Assumes one call a process.
import { openNet } from '../../lib/kernel/netlink/net.ts';
import type { Net } from '../../lib/kernel/net.ts';
import type { PluginCall } from '../skel/skel.ts';

/** rtnetlink in this process, or `ip` where PODWIRE_NET says so or the C library cannot be called. */
export const netOf = (call: PluginCall): Net => openNet({ exec: call.host.exec });
