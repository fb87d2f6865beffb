// A sandbox whose record cannot be written any more: what has happened to it counts all the same, and is only told.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import type { PodSandboxConfig } from '../../../lib/container/cri.ts';
import type { ContainerRuntime } from '../../../lib/container/runtime.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { identify } from '../../../lib/kernel/process.ts';
import { type SandboxRecord, sandboxFiles, saveRecord } from '../../../lib/sandbox/record.ts';
import { LocalRuntime } from '../../../lib/sandbox/service.ts';

const containers = {
  recover: async () => [],
  list: () => [],
  onExit: () => {},
  close: async () => {},
} as unknown as ContainerRuntime;

t.test('a pause that dies on a full disk is told, and the sandbox can be taken down', async (t) => {
  const paths = nodePaths(t.testdir());
  const files = sandboxFiles(paths.sandboxes, 'pod-0123456789');
  mkdirSync(files.dir, { recursive: true });
  const pause = spawn('sleep', ['100'], { stdio: 'ignore' });
  t.teardown(() => pause.kill('SIGKILL'));
  const namespaces = { network: 'node', ipc: 'node', pid: 'container' };
  const record = {
    id: 'pod-0123456789',
    config: { namespace: 'ns', name: 'pod', uid: `none-${process.pid}`, attempt: 0, namespaces },
    createdAt: new Date().toISOString(),
    state: 'ready',
    ips: [],
    pause: identify(pause.pid!)!,
  } as unknown as SandboxRecord & { config: PodSandboxConfig };
  saveRecord(files, record);
  mkdirSync(`${files.record}.tmp`); // as good as a full disk: no record can be written
  const warnings: string[] = [];
  const runtime = new LocalRuntime(
    {
      paths,
      network: { setup: async () => [], teardown: async () => {}, collectGarbage: async () => {} },
      pauseArgv: ['true'],
      warn: (message) => warnings.push(message),
      exec: async () => ({ exitCode: 0, stdout: '', stderr: '' }) as never,
    },
    containers,
  );
  await runtime.recover();
  t.teardown(() => runtime.close());
  const told = new Promise((resolve) => runtime.onEvent(resolve));
  pause.kill('SIGKILL');
  t.match(await told, { type: 'SandboxChanged' });
  t.match(runtime.listPodSandboxes(), [{ state: 'notready' }]);
  t.match(JSON.parse(readFileSync(files.record, 'utf8')), { state: 'ready' }, 'the next daemon looks itself');
  await runtime.removePodSandbox(record.id);
  t.same(runtime.listPodSandboxes(), []);
  t.ok(
    warnings.length > 0 && warnings.every((line) => /record of sandbox pod-0123456789/.test(line)),
    'told',
  );
});
