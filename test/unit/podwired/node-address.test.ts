// A node's own address, where nobody says which.
import type { NetworkInterfaceInfo } from 'node:os';
import t from 'tap';
import { chooseAddress } from '../../../cmd/podwired/node-facts.ts';

const at = (address: string, more: Partial<NetworkInterfaceInfo> = {}): NetworkInterfaceInfo[] => [
  {
    address,
    family: 'IPv4',
    internal: false,
    netmask: '',
    mac: '',
    cidr: null,
    ...more,
  } as NetworkInterfaceInfo,
];
const lo = at('127.0.0.1', { internal: true });

const cases = [
  {
    name: 'that of the default route, though another comes first',
    interfaces: { lo, eth0: at('192.0.2.1'), eth1: at('198.51.100.1') },
    byDefault: 'eth1',
    onLink: ['eth0', 'eth1'],
    want: '198.51.100.1',
  },
  {
    name: 'a Vagrant node: the default route has the address that all have',
    interfaces: { lo, eth0: at('10.0.2.15'), docker0: at('172.17.0.1'), eth1: at('192.168.56.11') },
    byDefault: 'eth0',
    onLink: ['eth0', 'eth1'],
    want: '192.168.56.11',
  },
  {
    name: 'nothing but that: it must do, bridges are no way to a machine',
    interfaces: { lo, docker0: at('172.17.0.1'), eth0: at('10.0.2.15') },
    byDefault: 'eth0',
    onLink: ['eth0'],
    want: '10.0.2.15',
  },
  {
    name: 'no default route: the first card',
    interfaces: { lo, docker0: at('172.17.0.1'), eth0: at('192.0.2.1') },
    byDefault: undefined,
    onLink: ['eth0'],
    want: '192.0.2.1',
  },
  {
    name: 'a namespace with a veth alone',
    interfaces: { lo, v0: at('192.0.2.7') },
    byDefault: undefined,
    onLink: [],
    want: '192.0.2.7',
  },
  {
    name: 'never our own bridge, which an earlier start left: its MTU would be taken for that of the way to others',
    interfaces: {
      lo,
      podwire0: at('10.244.0.1'),
      pw0a1b2c: at('10.244.1.1'),
      'podwire-vx': at('10.244.0.0'),
    },
    byDefault: undefined,
    onLink: [],
    want: '127.0.0.1',
  },
  { name: 'nothing', interfaces: { lo }, byDefault: undefined, onLink: [], want: '127.0.0.1' },
];
for (const { name, interfaces, want, ...known } of cases)
  t.test(name, async (t) => {
    t.equal(chooseAddress(interfaces, known), want);
  });
