// CNI plugins on Debian's own kernel, which has what a lab machine's may lack: VLAN links and bridges that filter VLANs.
// Runs the plugins' kernel tests inside a VM; what is skipped elsewhere for want of the kernel must run there.
import t from 'tap';
import { startLab } from './lab.ts';
import { fileTimeout } from './runner.ts';

const files = ['vlan'];

const [one] = await startLab(t);

for (const file of files)
  t.test(file, async (t) => {
    const { stdout, stderr, exitCode } = await one!.run(
      [
        'bash',
        '-c',
        `cd /opt/podwire && PATH=$PWD/node_modules/.bin:$PATH TAP_TIMEOUT=${fileTimeout} node test/kernel/cni/${file}.test.ts`,
      ],
      { timeoutMs: fileTimeout * 1000 },
    );
    const failures = stdout.split('\n').filter((line) => /^\s*not ok /.test(line));
    t.strictSame({ failures, exitCode }, { failures: [], exitCode: 0 }, 'nothing fails', {
      said: `${stdout.slice(-6000)}${stderr.slice(-2000)}`,
    });
    t.notMatch(stdout, /# SKIP this kernel has no/i, 'this kernel has it all');
    t.match(stdout, /^# \{ total: \d+, pass: \d+ \}$/m);
    t.comment(`${file}: ${/^# \{ (total.*) \}$/m.exec(stdout)?.[1]}`);
  });
