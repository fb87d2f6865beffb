// Pure parts of the mount code, and the argv it gives when the programs are used.
import t from 'tap';
import type { Command } from '../../../lib/exec/exec.ts';
import { ExecError } from '../../../lib/exec/errors.ts';
import {
  bindMount,
  mountOverlay,
  mountTmpfs,
  overlayData,
  parseMountInfo,
  unmount,
} from '../../../lib/kernel/mount.ts';

const overlay = { lower: ['/a', '/b'] as const, upper: '/u', work: '/w', target: '/t' };

t.test('overlay data lists the lower layers from the top', async (t) => {
  t.equal(overlayData({ ...overlay, lower: ['/a', '/b'] }), 'lowerdir=/a:/b,upperdir=/u,workdir=/w');
});

for (const upper of ['/u,x', '/u:x', '/u\\x', '/u"x'])
  t.test(`overlay refuses ${upper}`, async (t) => {
    t.throws(() => overlayData({ ...overlay, lower: ['/a'], upper }), { code: 'EINVAL', what: upper });
  });

t.test('mountinfo: octal escapes, optional fields, options of the file system', async (t) => {
  const text =
    '36 35 98:0 /m /mnt/a\\040b\\134c rw,noatime shared:1 master:2 - ext4 /dev/root rw,errors=continue\n' +
    '37 35 0:9 / /run rw - tmpfs tmpfs rw,mode=755\n';
  t.same(parseMountInfo(text), [
    {
      target: '/mnt/a b\\c',
      type: 'ext4',
      options: ['rw', 'noatime'],
      propagation: 'shared',
      superOptions: ['rw', 'errors=continue'],
    },
    {
      target: '/run',
      type: 'tmpfs',
      options: ['rw'],
      propagation: 'private',
      superOptions: ['rw', 'mode=755'],
    },
  ]);
});

const recorder = (answer?: (argv: readonly string[]) => string | undefined) => {
  const lines: string[] = [];
  const exec = async ({ argv }: Command) => {
    lines.push(argv.join(' '));
    const stderr = answer?.(argv);
    if (stderr) throw new ExecError('EXEC_FAILED', stderr, { argv, exitCode: 32, stderr });
    return { stdout: '', stderr: '', exitCode: 0 };
  };
  return { lines, exec };
};

t.test('the programs get these arguments', async (t) => {
  const { lines, exec } = recorder();
  await mountOverlay({ ...overlay, lower: ['/a'] }, exec);
  await mountTmpfs({ target: '/t', options: 'nosuid,mode=0755,size=1m' }, exec);
  await bindMount({ source: '/s', target: '/t', readOnly: true }, exec);
  await unmount('/t', exec);
  t.same(lines, [
    'mount --no-canonicalize -t overlay -o lowerdir=/a,upperdir=/u,workdir=/w,volatile overlay /t',
    'mount --no-canonicalize -t tmpfs -o nosuid,mode=0755,size=1m tmpfs /t',
    'mount --no-canonicalize -t none -o bind /s /t',
    'mount --no-canonicalize -t none -o remount,bind,ro /s /t',
    'umount --no-canonicalize /t',
  ]);
});

const unmounts = [
  { name: 'not mounted is success', said: 'umount: /t: not mounted.', want: ['umount --no-canonicalize /t'] },
  {
    name: 'absent is success',
    said: 'umount: /t: no mount point specified.',
    want: ['umount --no-canonicalize /t'],
  },
  {
    name: 'a busy one is detached',
    said: 'umount: /t: target is busy.',
    want: ['umount --no-canonicalize /t', 'umount --no-canonicalize --lazy /t'],
  },
];
for (const c of unmounts)
  t.test(c.name, async (t) => {
    const { lines, exec } = recorder((argv) => (argv.includes('--lazy') ? undefined : c.said));
    await unmount('/t', exec);
    t.same(lines, c.want);
  });

t.test('other failures keep their errno', async (t) => {
  const { exec } = recorder(() => 'umount: /t: Operation not permitted.');
  await t.rejects(unmount('/t', exec), { code: 'EPERM' });
});
