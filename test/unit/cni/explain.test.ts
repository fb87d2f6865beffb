// From the trace of a Pod's network to a script.
import t from 'tap';
import { explainScript } from '../../../lib/cni/explain.ts';
import { parseTrace, type TraceLine } from '../../../lib/kernel/trace.ts';

const lines: TraceLine[] = [
  { tool: 'ip', lines: ['netns add web'] },
  { tool: 'ip', netns: 'web', lines: ['link set lo up'] },
  {
    tool: 'ip',
    lines: ['link add name podwire0 address 02:00:00:00:00:b0 type bridge', 'link set dev podwire0 up'],
    held: true,
  },
  {
    tool: 'ip',
    lines: [
      'link add name veth1 type veth peer name eth0 netns web',
      `link set dev veth1 alias "podwire: default/web eth0" master podwire0 up`,
    ],
  },
  { tool: 'sysctl', lines: ['net/ipv6/conf/podwire0/accept_ra=0'] },
  { tool: 'sysctl', netns: 'web', lines: ['net/ipv4/conf/eth0.1/forwarding=1'] },
  { tool: 'ip', netns: '/proc/7/ns/net', lines: ['addr add 10.244.0.2/24 dev eth0'] },
  { tool: 'nft', lines: ['add table inet podwire-cni', 'add set inet podwire-cni a { type ipv4_addr; }'] },
];
const wanted = `#!/bin/sh
# pod default/web
# The commands that built it, in order. Run as root.
set -eu
ip netns add web
ip -n web link set lo up
ip link show dev podwire0 >/dev/null 2>&1 || ip link add name podwire0 address 02:00:00:00:00:b0 type bridge
ip link set dev podwire0 up
ip link add name veth1 type veth peer name eth0 netns web
ip link set dev veth1 alias 'podwire: default/web eth0' master podwire0 up
sysctl -qw net.ipv6.conf.podwire0.accept_ra=0
ip netns exec web sysctl -qw net/ipv4/conf/eth0.1/forwarding=1
nsenter --net=/proc/7/ns/net ip addr add 10.244.0.2/24 dev eth0
nft -f - <<'NFT'
add table inet podwire-cni
add set inet podwire-cni a { type ipv4_addr; }
NFT
`;

t.test('a whole Pod', async (t) => {
  t.equal(explainScript(lines, 'pod default/web'), wanted);
});

t.test('what was undone again is left out', async (t) => {
  const failed: TraceLine[] = [
    {
      tool: 'ip',
      lines: ['link add name podwire0 type bridge', 'link add name veth1 type veth peer name eth0 netns web'],
    },
    { tool: 'ip', netns: 'web', lines: ['link set dev eth0 up'] },
    { tool: 'sysctl', lines: ['net.ipv4.ip_forward=1'] },
    { tool: 'ip', lines: ['link del dev veth1'] },
    { tool: 'ip', lines: ['link add name veth1 type veth peer name eth0 netns web'] },
  ];
  t.equal(
    explainScript(failed, 'x\ny').split('\n').slice(3).join('\n'),
    'set -eu\nip link add name podwire0 type bridge\nsysctl -qw net.ipv4.ip_forward=1\nip link add name veth1 type veth peer name eth0 netns web\n',
  );
});

t.test('a trace with a line cut short', async (t) => {
  t.strictSame(parseTrace('{"tool":"ip","lines":["link set lo up"]}\n{"tool":"ip","li'), [
    { tool: 'ip', lines: ['link set lo up'] },
  ]);
  t.strictSame(parseTrace('\n7\nnull\n{}\n'), []);
});
