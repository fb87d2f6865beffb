import t from 'tap';
import {
  dnsLabelFault,
  dnsSubdomainFault,
  envNameFault,
  labelValueFault,
  portNameFault,
  qualifiedNameFault,
  sysctlNameFault,
} from '../../../lib/api/names.ts';

const table: { rule: (value: string) => string | undefined; name: string; good: string[]; bad: string[] }[] =
  [
    {
      name: 'label',
      rule: dnsLabelFault,
      good: ['a', 'web-1', '0', 'a'.repeat(63)],
      bad: ['', 'A', '-a', 'a-', 'a.b', 'a_b', 'a/b', '..', 'a\n', 'a'.repeat(64), 'é'],
    },
    {
      name: 'subdomain',
      rule: dnsSubdomainFault,
      good: ['a', 'a.b', 'web-1.x', 'a'.repeat(253)],
      bad: [
        '',
        '../../etc',
        '..',
        '.',
        'a..b',
        '/a',
        'a/b',
        'a\0',
        'a\nb',
        '-a',
        'a.',
        'a'.repeat(254),
        '%2e%2e',
      ],
    },
    {
      name: 'qualified name',
      rule: qualifiedNameFault,
      good: ['app', 'example.com/App_1.x', 'a'.repeat(63)],
      bad: ['', '/a', 'a/', 'a/b/c', 'A.com/x', '_x', '__proto__', 'x'.repeat(64)],
    },
    {
      name: 'label value',
      rule: labelValueFault,
      good: ['', 'A_b.c-1'],
      bad: ['-', 'a b', 'a/b', 'x'.repeat(64)],
    },
    {
      name: 'env',
      rule: envNameFault,
      good: ['A', 'a.b-c', '1', 'with space'],
      bad: ['', 'a=b', 'é', 'a\n', 'a\0'],
    },
    {
      name: 'port',
      rule: portNameFault,
      good: ['http', 'p-1', '8a'],
      bad: ['', '80', '-a', 'a-', 'a--b', 'HTTP', 'a'.repeat(16)],
    },
    {
      name: 'sysctl',
      rule: sysctlNameFault,
      good: ['net.ipv4.tcp_syncookies', 'kernel/shm_rmid_forced'],
      bad: ['', '../x', 'net..x', 'a/../b', '/net', 'Net.x'],
    },
  ];
for (const { name, rule, good, bad } of table) {
  t.test(name, async (t) => {
    for (const value of good) t.equal(rule(value), undefined, `${JSON.stringify(value)} passes`);
    for (const value of bad) t.type(rule(value), 'string', `${JSON.stringify(value)} does not`);
  });
}
