import t from 'tap';
import { drawNetwork } from '../../../examples/picture.ts';
import { stateDifference } from '../../../scripts/machine-state.ts';

t.test('one bridge, two Pods', async (t) => {
  const pod = (name: string, last: number) => ({
    netns: `${name}-0123456789`,
    pod: `default/${name}`,
    hostEnd: `veth${last}`,
    podEnd: 'eth0',
    mac: `0a:58:0a:f4:00:${String(last).padStart(2, '0')}`,
    addresses: [`10.244.0.${last}/24`],
    gateway: '10.244.0.1',
    processes: ['11 catatonit', '12 perl', '13 sh', '14 a-program-with-a-name', '15 another'],
  });
  t.equal(
    drawNetwork({
      uplink: { name: 'ens3', addresses: ['192.0.2.7/24'] },
      masquerade: ['10.244.0.0/24'],
      forwarding: true,
      bridge: { name: 'podwire0', addresses: ['10.244.0.1/24'], mac: '0a:58:0a:f4:00:01' },
      pods: [pod('client', 2), pod('web', 13)],
    }),
    `ens3  192.0.2.7/24   (the machine's way out)
 │
 │  nftables: packets from 10.244.0.0/24 leave with the machine's address
 │  ip_forward is on: the kernel routes between the two
 │
podwire0  10.244.0.1/24   bridge, 0a:58:0a:f4:00:01
 │            ┌─ /run/netns/client-0123456789 ────────────────────────────┐
 ├─ veth2 ════╡ eth0  10.244.0.2/24   0a:58:0a:f4:00:02                   │
 │            │ default via 10.244.0.1                                    │
 │            │ Pod default/client                                        │
 │            │ 11 catatonit · 12 perl · 13 sh · 14 a-program-with-a-name │
 │            │ 15 another                                                │
 │            └───────────────────────────────────────────────────────────┘
 │
 │            ┌─ /run/netns/web-0123456789 ───────────────────────────────┐
 └─ veth13 ═══╡ eth0  10.244.0.13/24   0a:58:0a:f4:00:13                  │
              │ default via 10.244.0.1                                    │
              │ Pod default/web                                           │
              │ 11 catatonit · 12 perl · 13 sh · 14 a-program-with-a-name │
              │ 15 another                                                │
              └───────────────────────────────────────────────────────────┘
`,
  );
});

t.test('what is left behind, and what is gone', async (t) => {
  t.same(stateDifference(['a', 'b', 'b'], ['b', 'c', 'c']), [
    'left behind: c',
    'left behind: c',
    'gone: a',
    'gone: b',
  ]);
  t.same(stateDifference(['a'], ['a']), []);
});
