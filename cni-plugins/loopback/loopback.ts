// CNI plugin loopback: brings `lo` of the container's namespace up, so that it has 127.0.0.1 and ::1.
// Assumes no keys of its own; DEL brings lo down, and does not mind a namespace that is gone.
// Source: the behaviour of the reference plugin of that name.
import { CniError } from '../../lib/cni/errors.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { isAbsent } from '../../lib/kernel/errors.ts';
import { hasIpv6 } from '../../lib/kernel/link.ts';
import { netOf } from '../lib/net.ts';
import { ownCodes } from '../skel/codes.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';

async function add(call: PluginCall): Promise<CniResult> {
  await netOf(call).apply([{ op: 'setLink', name: 'lo', state: 'up' }], call.netns);
  if (call.prevResult) return call.prevResult;
  return {
    interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', mtu: 65536, sandbox: call.netns }],
    ips: [
      { address: '127.0.0.1/8', interface: 0 },
      ...(hasIpv6() ? [{ address: '::1/128', interface: 0 }] : []),
    ],
  };
}

async function del(call: PluginCall): Promise<void> {
  if (call.netns === '') return;
  try {
    await netOf(call).apply([{ op: 'setLink', name: 'lo', state: 'down' }], call.netns);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

async function check(call: PluginCall): Promise<void> {
  const lo = await netOf(call).inspect('lo', call.netns);
  if (!lo?.up) throw new CniError(ownCodes.checkFailed, `lo is ${lo ? 'down' : 'missing'} in ${call.netns}`);
}

export const loopback: Plugin = { type: 'loopback', add, del, check };
