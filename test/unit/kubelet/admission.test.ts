// Which sysctls a node lets a Pod set.
import t from 'tap';
import { checkAllowedSysctls, podRejection } from '../../../lib/kubelet/admission.ts';
import { pod } from './fixtures.ts';

const withSysctl = (name: string) => pod({ securityContext: { sysctls: [{ name, value: '1' }] } });
const cases = [
  { name: 'net.ipv4.tcp_syncookies', allowed: [], want: undefined },
  { name: 'net/ipv4/tcp_syncookies', allowed: [], want: undefined },
  { name: 'net.core.somaxconn', allowed: [], want: 'forbidden sysctl: "net.core.somaxconn" not allowlisted' },
  { name: 'net.core.somaxconn', allowed: ['net.core.*'], want: undefined },
  { name: 'kernel.msgmax', allowed: ['kernel.msg*'], want: undefined },
  {
    name: 'kernel.msgmax',
    allowed: ['kernel.msgmnb'],
    want: 'forbidden sysctl: "kernel.msgmax" not allowlisted',
  },
  { name: 'kernel.panic', allowed: ['net.*'], want: 'forbidden sysctl: "kernel.panic" not allowlisted' },
];
const on = (allowedUnsafeSysctls: readonly string[]) => ({
  node: { allowedUnsafeSysctls, allocatable: {} },
  others: [],
  pressures: [],
});
for (const { name, allowed, want } of cases)
  t.test(`${name} with ${JSON.stringify(allowed)}`, async (t) => {
    const rejection = podRejection(withSysctl(name), on(allowed));
    t.strictSame(rejection, want === undefined ? undefined : { reason: 'SysctlForbidden', message: want });
  });
t.equal(podRejection(pod(), on([])), undefined);

const asking = (requests: Record<string, string>) =>
  pod({ containers: [{ name: 'a', image: 'i', resources: { requests } }] });
const rooms: [
  name: string,
  asks: Record<string, string>,
  others: Record<string, string>[],
  reason?: string,
][] = [
  ['what is left is enough', { cpu: '1', memory: '1Gi' }, [{ cpu: '1' }]],
  ['too little cpu is left', { cpu: '1200m' }, [{ cpu: '900m' }], 'OutOfcpu'],
  ['too little memory', { memory: '2Gi' }, [], 'OutOfmemory'],
  ['no huge pages', { 'hugepages-2Mi': '2Mi', memory: '1Mi' }, [], 'OutOfhugepages-2Mi'],
  ['too many', {}, [{}, {}, {}], 'OutOfpods'],
  ['what the node does not count', { 'ephemeral-storage': '1Ei' }, []],
];
for (const [name, asks, others, reason] of rooms)
  t.test(`room for a Pod: ${name}`, async (t) => {
    const node = { allowedUnsafeSysctls: [], allocatable: { cpu: 2000, memory: 2 ** 30, pods: 3 } };
    const rejection = podRejection(asking(asks), { node, others: others.map(asking), pressures: [] });
    t.equal(rejection?.reason, reason);
    if (reason === 'OutOfcpu')
      t.equal(
        rejection?.message,
        "Node didn't have enough resource: cpu, requested: 1200, used: 900, capacity: 2000",
      );
  });

t.strictSame(checkAllowedSysctls(['net/core/somaxconn', 'kernel.msg*']), [
  'net.core.somaxconn',
  'kernel.msg*',
]);
for (const bad of ['kernel.panic', '*', 'net.*.x', 'vm.swappiness', 'kernel.*', 'net..x'])
  t.throws(() => checkAllowedSysctls([bad]), { code: 'BAD_SYSCTL' }, bad);
