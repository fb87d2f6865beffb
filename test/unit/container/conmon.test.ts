// The arguments that conmon and the OCI runtimes get, what they report, and what that means to a person.
import t from 'tap';
import { conmonArgv, parseConmonReport } from '../../../lib/container/conmon.ts';
import { execProcess } from '../../../lib/container/container-exec.ts';
import { containerFiles, newContainerId } from '../../../lib/container/container-record.ts';
import {
  execArgv,
  execExitCode,
  ociRuntime,
  readableRuntimeError,
  startArgv,
} from '../../../lib/container/oci/runtime.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';

const request = {
  conmon: '/usr/bin/conmon',
  runtime: ociRuntime('/usr/bin/crun', '/run/podwire/oci'),
  id: 'abc',
  name: 'ns_pod_web_0',
  bundle: '/b',
  pidFile: '/b/pid',
  conmonPidFile: '/b/conmon.pid',
  logPath: '/l/0.log',
  exitDir: '/e',
  tty: false,
  stdin: false,
  stdinOnce: false,
};

t.test('conmon', async (t) => {
  t.equal(
    conmonArgv(request).join(' '),
    '/usr/bin/conmon --api-version 1 -c abc -u abc -n ns_pod_web_0 -b /b -r /usr/bin/crun --runtime-arg --root ' +
      '--runtime-arg /run/podwire/oci --runtime-arg --cgroup-manager=cgroupfs -p /b/pid -P /b/conmon.pid ' +
      '-l k8s-file:/l/0.log --log-level error --exit-dir /e --persist-dir /b --socket-dir-path /b --full-attach ' +
      '--no-sync-log',
  );
  t.same(conmonArgv({ ...request, tty: true, stdin: true }).slice(-3), ['-t', '-i', '--leave-stdin-open']);
  t.same(conmonArgv({ ...request, stdin: true, stdinOnce: true }).at(-1), '-i');
});

t.test('runtimes', async (t) => {
  const runc = ociRuntime('/usr/sbin/runc', '/s');
  t.same(startArgv(runc, 'abc'), ['/usr/sbin/runc', '--root', '/s', 'start', 'abc']);
  t.same(execArgv(runc, { id: 'abc', processFile: '/p', pidFile: '/q' }), [
    '/usr/sbin/runc',
    '--root',
    '/s',
    'exec',
    '--process',
    '/p',
    '--pid-file',
    '/q',
    'abc',
  ]);
});

const reports: ReadonlyArray<readonly [string, object]> = [
  ['{"data": 42}', { pid: 42 }],
  ['{"data": -1, "message": "no\\n"}', { failure: 'no\n' }],
  ['{"data": -1}', { failure: '' }],
  ['{"data": "x"}', { failure: '' }],
  ['garbage', { failure: 'conmon reported "garbage"' }],
];
for (const [line, want] of reports)
  t.test(`report ${line}`, async (t) => t.same(parseConmonReport(line), want));

const notFound = 'exec: "nosuch": executable file not found in $PATH';
const errors = [
  {
    name: 'crun',
    said: '2026-01-01T00:00:00.000000Z: executable file `nosuch` not found in $PATH: No such file or directory\n',
    command: 'nosuch',
    want: notFound,
  },
  {
    name: 'newer crun',
    said: 'executable file `nosuch` not found: No such file or directory',
    command: 'nosuch',
    want: notFound,
  },
  {
    name: 'runc',
    said: 'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: unable to start container process: exec: \\"nosuch\\": executable file not found in $PATH"',
    command: 'nosuch',
    want: notFound,
  },
  {
    name: 'runc with a path',
    said: 'time="x" level=error msg="runc create failed: unable to start container process: exec: \\"/no/such\\": stat /no/such: no such file or directory"',
    command: '/no/such',
    want: 'exec: "/no/such": no such file or directory',
  },
  {
    name: 'crun, no right',
    said: 'open executable: Permission denied',
    command: '/etc/hosts',
    want: 'exec: "/etc/hosts": permission denied',
  },
  {
    name: 'runc, no right',
    said: 'time="x" level=error msg="runc create failed: unable to start container process: exec: \\"/etc/hosts\\": permission denied"',
    command: '/etc/hosts',
    want: 'exec: "/etc/hosts": permission denied',
  },
  {
    name: 'anything else',
    said: '2026-01-01T00:00:00Z: mount `x` to `y`: Invalid argument\n',
    command: 'sh',
    want: 'mount `x` to `y`: Invalid argument',
  },
  { name: 'nothing', said: '', command: 'sh', want: 'the OCI runtime failed and said nothing' },
];
for (const c of errors)
  t.test(`error of ${c.name}`, async (t) => t.equal(readableRuntimeError(c.said, c.command), c.want));

t.test("an exec has the container's user, folder and rights", async (t) => {
  const capabilities = { bounding: ['CAP_KILL'], effective: [], permitted: [] };
  const process = {
    terminal: false,
    user: { uid: 5, gid: 6 },
    args: ['x'],
    env: ['A=1', 'TERM=vt'],
    cwd: '/w',
    capabilities,
    noNewPrivileges: true,
  };
  t.same(execProcess(process, { argv: ['sh'], tty: false, stdin: false }), { ...process, args: ['sh'] });
  const tty = execProcess(process, { argv: ['sh'], tty: true, stdin: true });
  t.same([tty.terminal, tty.env], [true, ['A=1', 'TERM=xterm']]);
});

t.test('ids become paths, and so must be ids', async (t) => {
  const paths = nodePaths('/x');
  const id = newContainerId();
  t.match(id, /^[0-9a-f]{64}$/);
  t.equal(containerFiles(paths, id).bundle, `/x/run/podwire/containers/${id}`);
  for (const bad of ['', '..', '../../etc', `${id}/`, id.toUpperCase().replace(/[0-9]/g, 'A')])
    t.throws(() => containerFiles(paths, bad), { message: /is no container id/ });
});

const runcSays = 'level=error msg="exec failed: unable to start container process: exec: \\"/x\\": ';
const ends: ReadonlyArray<readonly [number, string, number]> = [
  [0, '', 0],
  [5, 'executable file `x` not found in $PATH', 5],
  [255, 'anything', 255],
  [255, 'executable file `x` not found in $PATH: No such file or directory', 127],
  [255, 'open executable: Permission denied', 126],
  [255, `${runcSays}stat /x: no such file or directory"`, 127],
  [255, `${runcSays}permission denied"`, 126],
];
for (const [code, said, want] of ends)
  t.test(`exec ends with ${code} ${said}`, async (t) => t.equal(execExitCode(code, said), want));
