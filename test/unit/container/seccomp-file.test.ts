// A profile is understood whole, or refused with the place that is not.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseSeccomp, readSeccompFile } from '../../../lib/container/oci/seccomp-file.ts';

const least = { defaultAction: 'SCMP_ACT_ALLOW' };
const rule = (more: object): object => ({
  ...least,
  syscalls: [{ names: ['mkdir'], action: 'SCMP_ACT_ERRNO', ...more }],
});

t.strictSame(parseSeccomp(least), { ...least, architectures: [], syscalls: [] });
t.strictSame(
  parseSeccomp({
    ...rule({ errnoRet: 1, args: [{ index: 0, value: 1, op: 'SCMP_CMP_EQ' }], comment: 'x' }),
    ...{ defaultErrnoRet: 38, architectures: ['SCMP_ARCH_X86_64'], flags: ['SECCOMP_FILTER_FLAG_LOG'] },
  }),
  {
    ...least,
    defaultErrnoRet: 38,
    architectures: ['SCMP_ARCH_X86_64'],
    flags: ['SECCOMP_FILTER_FLAG_LOG'],
    syscalls: [
      {
        names: ['mkdir'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: 1,
        args: [{ index: 0, value: 1, op: 'SCMP_CMP_EQ' }],
      },
    ],
  },
);

const bad: [string, unknown, RegExp][] = [
  ['no object', [], /profile: expected an object/],
  ['no action', {}, /defaultAction/],
  ["Docker's map", { ...least, archMap: [] }, /"archMap" is not of the OCI runtime specification/],
  ["Docker's condition", rule({ includes: { caps: ['CAP_SYS_ADMIN'] } }), /syscalls\[0\]: "includes"/],
  ['no names', rule({ names: [] }), /syscalls\[0\].names/],
  ['an action that is none', rule({ action: 'ALLOW' }), /syscalls\[0\].action/],
  [
    'an argument that is none',
    rule({ args: [{ index: -1, value: 0, op: 'SCMP_CMP_EQ' }] }),
    /args\[0\].index/,
  ],
];
for (const [name, value, says] of bad)
  t.test(name, async (t) => t.throws(() => parseSeccomp(value), { message: says }));

t.test('the file is named', async (t) => {
  const path = join(t.testdir(), 'p.json');
  t.throws(() => readSeccompFile(path), {
    message: new RegExp(`cannot load seccomp profile "${path}": ENOENT`),
  });
  writeFileSync(path, '{');
  t.throws(() => readSeccompFile(path), { message: /cannot load seccomp profile/ });
});
