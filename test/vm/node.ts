// podwire in a test VM, as tests look at it: Pods by the CLI, and what the VM's kernel has of them.
// Assumes podwire at /opt/podwire and its paths at the root of the VM. Every look is a command over ssh.
import type { Pod } from '../../lib/api/types.ts';
import { type Machine, patienceMs, sleep } from './machine.ts';

/** The Pod, or undefined when there is none. @throws Error when podwired does not answer */
export async function getPod(vm: Machine, name: string): Promise<Pod | undefined> {
  const { items } = await vm.api.list('pods', {
    namespace: 'default',
    fieldSelector: `metadata.name=${name}`,
  });
  return items[0];
}

/** Waits until podwired answers and is ready. @throws Error with the end of what it wrote to the journal */
export async function untilReady(vm: Machine): Promise<void> {
  let last: unknown;
  for (const end = Date.now() + patienceMs; Date.now() < end; await sleep(50)) {
    try {
      await vm.api.list('nodes');
      return;
    } catch (error) {
      last = error;
    }
  }
  const { stdout } = await vm.run(['journalctl', '-u', 'podwired', '-n', '40', '-o', 'cat', '--no-pager']);
  throw new Error(`podwired does not answer: ${last}\n${stdout}`);
}

/** Waits until `met` holds for the Pod (undefined: it is gone). @throws Error with its last state and its events */
export async function until(vm: Machine, name: string, met: (pod: Pod | undefined) => unknown): Promise<Pod> {
  let last: Pod | undefined;
  for (const end = Date.now() + patienceMs; Date.now() < end; await sleep(100)) {
    last = await getPod(vm, name);
    if (met(last)) return last as Pod;
  }
  const { stdout } = await vm.podwire('describe', 'pod', name);
  throw new Error(
    `pod ${name}: not so after ${patienceMs / 1000} s\n${stdout}\n${JSON.stringify(last?.status)}`,
  );
}

export const isRunning = (pod: Pod | undefined): boolean =>
  pod?.status?.phase === 'Running' &&
  (pod.status.containerStatuses ?? []).every((container) => container.state?.running !== undefined);

/** Name → id of the containers that run. */
export function containerIds(pod: Pod): Record<string, string> {
  const statuses = (pod.status?.containerStatuses ?? []).filter((container) => container.state?.running);
  return Object.fromEntries(statuses.map((c) => [c.name, c.containerID?.replace('podwire://', '') ?? '']));
}

export const restarts = (pod: Pod): number[] =>
  (pod.status?.containerStatuses ?? []).map((container) => container.restartCount);

/** Creates a Pod in namespace default. @throws ApiError in the API's words */
export async function create(vm: Machine, pod: object): Promise<void> {
  await vm.api.create('pods', pod, { namespace: 'default' });
}

/** Deletes Pods and waits until they are gone. */
export async function remove(vm: Machine, ...pods: readonly string[]): Promise<void> {
  for (const name of pods) await vm.api.delete('pods', { namespace: 'default', name });
  for (const name of pods) await until(vm, name, (pod) => pod === undefined);
}

/** Runs bash inside a Pod's first container, through podwired; gives its output. @throws Error for an exit code */
export async function inPod(vm: Machine, name: string, script: string): Promise<string> {
  const container = (await getPod(vm, name))?.spec.containers[0]?.name;
  const command = ['bash', '-c', script] as const;
  const session = await vm.api.exec({ namespace: 'default', name }, { command: [...command], container });
  let text = '';
  const add = (chunk: Buffer): void => {
    text += chunk.toString('utf8');
  };
  session.onStdout(add);
  session.onStderr(add);
  const code = await session.exit;
  if (code !== 0) throw new Error(`in Pod ${name}: exit code ${code}: ${text}`);
  return text.trim();
}

/** The page of examples/web.yaml, fetched by bash alone. */
export const fetchPage = (ip: string): string =>
  `exec 3<>/dev/tcp/${ip}/8080 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3`;

/** Names below a folder, [] when it is not there. */
export async function names(vm: Machine, folder: string): Promise<string[]> {
  return (await vm.sh(`ls -1 ${folder} 2>/dev/null || true`)).split('\n').filter(Boolean);
}

/** Addresses that host-local has given away: address → sandbox id. */
export async function leases(vm: Machine): Promise<Record<string, string>> {
  const text = await vm.sh(
    'cd /var/lib/podwire/cni/networks 2>/dev/null && grep -rHm1 . . | grep -E "/[0-9]+(\\.[0-9]+){3}:" || true',
  );
  return Object.fromEntries(
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => {
        const [path = '', holder = ''] = line.split(/:(.*)/);
        return [path.slice(path.lastIndexOf('/') + 1), holder.trim()];
      }),
  );
}

/** What the kernel and the disk of the VM have of Pods, as lines. Empty after `down --pods`. */
export async function traces(vm: Machine): Promise<string[]> {
  const text = await vm.sh(`
    ls -1 /run/netns 2>/dev/null | sed 's/^/netns /'
    ip -o link show | sed -n 's/^[0-9]*: \\(\\(podwire\\|veth\\)[^:@]*\\).*/link \\1/p'
    awk '$5 ~ /podwire/ && $5 != "/opt/podwire" {print "mount " $5}' /proc/self/mountinfo
    find /sys/fs/cgroup -type d -name 'podwire*' ! -path '*/podwired.service*' | sed 's/^/cgroup /'
    nft list tables | grep -i podwire | sed 's/^/nftables /'
    pgrep -a 'conmon|catatonit|crun|runc' | sed 's/^/process /'
    pgrep -af podwired.mjs | grep -v pgrep | sed 's/^/process /'
    ls -1 /run/podwire/sandboxes /run/podwire/exits 2>/dev/null | grep -v : | sed '/^$/d; s/^/record /'
    ls -1 /run/podwire/containers 2>/dev/null | grep -E '^[0-9a-f]{64}$' | sed 's/^/container /'
    ls -1 /var/lib/podwire/overlay /var/lib/podwire/pods 2>/dev/null | grep -v : | sed '/^$/d; s/^/folder /'
    true`);
  return [
    ...text.split('\n').filter(Boolean),
    ...Object.keys(await leases(vm)).map((address) => `lease ${address}`),
  ];
}
