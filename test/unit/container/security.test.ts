// Capabilities and the seccomp table.
import t from 'tap';
import {
  allCapabilities,
  capabilitiesOfMask,
  type CapabilityChoice,
  chooseCapabilities,
  defaultCapabilities,
} from '../../../lib/container/oci/capabilities.ts';
import { runtimeDefaultSeccomp } from '../../../lib/container/oci/seccomp.ts';

const none: CapabilityChoice = { privileged: false, capabilitiesAdd: [], capabilitiesDrop: [] };
const cap = (names: readonly string[]): string[] => names.map((name) => `CAP_${name}`);
const withoutResource = allCapabilities.filter((name) => name !== 'SYS_RESOURCE');

t.test("the default set is containerd's", async (t) => {
  t.same(defaultCapabilities, [
    'AUDIT_WRITE',
    'CHOWN',
    'DAC_OVERRIDE',
    'FOWNER',
    'FSETID',
    'KILL',
    'MKNOD',
    'NET_BIND_SERVICE',
    'NET_RAW',
    'SETFCAP',
    'SETGID',
    'SETPCAP',
    'SETUID',
    'SYS_CHROOT',
  ]);
  t.equal(capabilitiesOfMask('00000000a80425fb').sort().join(), [...defaultCapabilities].join());
  t.equal(allCapabilities.length, 41);
});

const cases: ReadonlyArray<{
  name: string;
  choice: Partial<CapabilityChoice>;
  granted: string[];
  leftOut?: string[];
}> = [
  { name: 'drop ALL', choice: { capabilitiesDrop: ['ALL'] }, granted: [] },
  {
    name: 'drop ALL, add one',
    choice: { capabilitiesDrop: ['ALL'], capabilitiesAdd: ['NET_ADMIN'] },
    granted: ['NET_ADMIN'],
  },
  {
    name: 'CAP_ and small letters are understood',
    choice: { capabilitiesDrop: ['all'], capabilitiesAdd: ['cap_kill'] },
    granted: ['KILL'],
  },
  { name: 'add ALL', choice: { capabilitiesAdd: ['ALL'] }, granted: withoutResource },
  {
    name: 'add ALL, drop one',
    choice: { capabilitiesAdd: ['ALL'], capabilitiesDrop: ['NET_RAW'] },
    granted: withoutResource.filter((name) => name !== 'NET_RAW'),
  },
  {
    name: 'privileged has all that can be given',
    choice: { privileged: true, capabilitiesDrop: ['ALL'] },
    granted: withoutResource,
  },
  {
    name: 'one that cannot be given is told',
    choice: { capabilitiesDrop: ['ALL'], capabilitiesAdd: ['SYS_RESOURCE', 'KILL'] },
    granted: ['KILL'],
    leftOut: ['SYS_RESOURCE'],
  },
];
for (const c of cases)
  t.test(c.name, async (t) => {
    const chosen = chooseCapabilities({ ...none, ...c.choice }, withoutResource);
    t.same(chosen, { granted: cap(c.granted), leftOut: cap(c.leftOut ?? []) });
  });
t.test('what is no capability is named', async (t) => {
  t.throws(() => chooseCapabilities({ ...none, capabilitiesAdd: ['NET_ADMIM'] }, []), {
    message: /"NET_ADMIM" is no Linux capability/,
  });
});

const allowed = (capabilities: string[], arch = 'x64'): Set<string> => {
  const rules = runtimeDefaultSeccomp(cap(capabilities), arch).syscalls;
  return new Set(
    rules.filter((rule) => rule.action === 'SCMP_ACT_ALLOW' && !rule.args).flatMap((rule) => [...rule.names]),
  );
};

t.test('what only a capability opens', async (t) => {
  const plain = allowed([...defaultCapabilities]);
  const opened: ReadonlyArray<readonly [string, string[]]> = [
    ['SYS_ADMIN', ['mount', 'umount2', 'setns', 'unshare', 'bpf', 'clone', 'clone3', 'sethostname']],
    ['SYS_MODULE', ['init_module', 'finit_module', 'delete_module']],
    ['SYS_TIME', ['clock_settime', 'settimeofday']],
    ['SYS_BOOT', ['reboot']],
    ['SYS_PTRACE', ['kcmp', 'pidfd_getfd']],
    ['DAC_READ_SEARCH', ['open_by_handle_at']],
    ['SYS_RAWIO', ['iopl', 'ioperm']],
    ['SYS_NICE', ['mbind', 'set_mempolicy']],
    ['SYSLOG', ['syslog']],
    ['BPF', ['bpf']],
  ];
  for (const [capability, names] of opened)
    for (const name of names) {
      t.notOk(plain.has(name), `${name} is closed`);
      t.ok(allowed([capability]).has(name), `${name} is opened by ${capability}`);
    }
  t.ok(plain.has('chroot'), 'the default set has SYS_CHROOT');
  t.notOk(allowed([]).has('chroot'));
});

t.test('never allowed', async (t) => {
  const everything = allowed([...allCapabilities]);
  for (const name of [
    'kexec_load',
    'kexec_file_load',
    'swapon',
    'swapoff',
    'add_key',
    'keyctl',
    'request_key',
    'userfaultfd',
    'io_uring_setup',
    'nfsservctl',
    'pivot_root',
  ])
    t.notOk(everything.has(name), name);
  t.notOk(everything.has('socket') || everything.has('personality'), 'only with arguments that are harmless');
});

t.test('clone without namespaces, clone3 as if it did not exist', async (t) => {
  const { syscalls, defaultAction, defaultErrnoRet } = runtimeDefaultSeccomp([], 'x64');
  t.same([defaultAction, defaultErrnoRet], ['SCMP_ACT_ERRNO', 1]);
  t.match(
    syscalls.find((rule) => rule.names.includes('clone')),
    { args: [{ index: 0, value: 0x7e020000, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }] },
  );
  t.match(
    runtimeDefaultSeccomp([], 's390x').syscalls.find((rule) => rule.names.includes('clone')),
    { args: [{ index: 1 }] },
  );
  t.match(
    syscalls.find((rule) => rule.names.includes('clone3')),
    { action: 'SCMP_ACT_ERRNO', errnoRet: 38 },
  );
});

t.test('processors', async (t) => {
  t.same(runtimeDefaultSeccomp([], 'x64').architectures, [
    'SCMP_ARCH_X86_64',
    'SCMP_ARCH_X86',
    'SCMP_ARCH_X32',
  ]);
  t.same(runtimeDefaultSeccomp([], 'arm64').architectures, ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM']);
  t.ok(allowed([], 'x64').has('arch_prctl'));
  t.notOk(allowed([], 'arm64').has('arch_prctl'));
});

t.test('no name twice', async (t) => {
  const [first] = runtimeDefaultSeccomp([], 'x64').syscalls;
  t.equal(new Set(first!.names).size, first!.names.length);
  t.ok(first!.names.length > 330, `${first!.names.length} names`);
});
