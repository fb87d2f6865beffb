// The backend of a configuration; and all of them, for taking away what any has made.
// Assumes one network a node: links are named by the node's tag.
import type { KernelOptions } from '../kernel/ip.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { hostGw } from './host-gw.ts';
import { ipip } from './ipip.ts';
import { linkName } from './own-link.ts';
import type { Backend, BackendConfig } from './types.ts';
import { vxlan } from './vxlan.ts';
import { wireguard } from './wireguard.ts';

type Options = Omit<KernelOptions, 'netns'>;

export function createBackend(config: BackendConfig, paths: NodePaths, options: Options = {}): Backend {
  switch (config.name) {
    case 'vxlan':
      return vxlan({ ...options, link: linkName('vxlan', paths.tag), config });
    case 'host-gw':
      return hostGw(options);
    case 'wireguard':
      return wireguard({ ...options, link: linkName('wireguard', paths.tag), config, paths });
    case 'ipip':
      return ipip({ ...options, link: linkName('ipip', paths.tag) });
  }
}
