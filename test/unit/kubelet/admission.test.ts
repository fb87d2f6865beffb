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
for (const { name, allowed, want } of cases)
  t.test(`${name} with ${JSON.stringify(allowed)}`, async (t) => {
    const rejection = podRejection(withSysctl(name), allowed);
    t.strictSame(rejection, want === undefined ? undefined : { reason: 'SysctlForbidden', message: want });
  });
t.equal(podRejection(pod(), []), undefined);

t.strictSame(checkAllowedSysctls(['net/core/somaxconn', 'kernel.msg*']), [
  'net.core.somaxconn',
  'kernel.msg*',
]);
for (const bad of ['kernel.panic', '*', 'net.*.x', 'vm.swappiness', 'kernel.*', 'net..x'])
  t.throws(() => checkAllowedSysctls([bad]), { code: 'BAD_SYSCTL' }, bad);
