// A container without wishes is held as tightly as containerd holds one: its own words (`ctr oci spec`) against ours.
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { chooseCapabilities, allCapabilities } from '../../../lib/container/oci/capabilities.ts';
import type { ContainerConfig } from '../../../lib/container/cri.ts';
import { buildOciSpec } from '../../../lib/container/oci/spec.ts';
import type { OciSpec } from '../../../lib/container/oci/types.ts';
import { findProgram } from '../../../lib/exec/find-program.ts';

const ctr = findProgram('ctr');
const missing = ctr === undefined ? { skip: 'ctr (containerd) is not installed' } : {};

function ours(): OciSpec {
  const security = { privileged: false, capabilitiesAdd: [], capabilitiesDrop: [] };
  const { granted } = chooseCapabilities(security, allCapabilities);
  const config = {
    image: 'i',
    command: ['x'],
    env: [],
    mounts: [],
    security: { ...security, readOnlyRootFilesystem: false, allowPrivilegeEscalation: true },
    resources: {},
    tty: false,
  } as unknown as ContainerConfig;
  return buildOciSpec({
    config,
    image: { Entrypoint: [], Cmd: [], Env: [], WorkingDir: '', User: '' } as never,
    sandbox: {
      ...{ id: 's', hostNetwork: false, hostIpc: false, hostPid: false, netnsPath: '/n', ipcPath: '/i' },
      ...{ utsPath: '/u', hostsPath: '/h', resolvConfPath: '/r', hostnamePath: '/hn', shmPath: '/s' },
      cgroupParent: 'p',
    },
    hostname: 'h',
    rootfsPath: '/rootfs',
    cgroupsPath: '/p/c',
    cgroupVersion: 'v2',
    user: { uid: 0, gid: 0, additionalGids: [] },
    capabilities: granted,
    devices: [],
    hidden: [],
    annotations: {},
  });
}

t.test('against containerd', missing, async (t) => {
  const theirs = JSON.parse(execFileSync(ctr!, ['oci', 'spec'], { encoding: 'utf8' })) as OciSpec;
  const own = ours();
  const lacks = (of: readonly string[], among: readonly string[]) => of.filter((one) => !among.includes(one));
  t.strictSame(lacks(theirs.linux.maskedPaths, own.linux.maskedPaths), [], 'masks what containerd masks');
  t.strictSame(
    lacks(theirs.linux.readonlyPaths, own.linux.readonlyPaths),
    [],
    'keeps read-only what it does',
  );
  for (const set of ['bounding', 'effective', 'permitted'] as const)
    t.strictSame(
      lacks(own.process.capabilities[set], theirs.process.capabilities[set]),
      [],
      `gives no capability more (${set})`,
    );
  const types = (spec: OciSpec) => spec.linux.namespaces.map(({ type }) => type);
  t.strictSame(lacks(types(theirs), types(own)), [], 'has every namespace');
  t.strictSame(own.linux.resources.devices[0], { allow: false, access: 'rwm' }, 'no devices unless told');
  for (const { destination, options } of theirs.mounts) {
    const same = own.mounts.find((mount) => mount.destination === destination);
    if (!same || same.type === 'bind') continue; // /run is the image's; /dev/shm is the Pod's
    const strict = options.filter((option) => /^(ro|no(suid|exec|dev))$/.test(option));
    t.strictSame(lacks(strict, same.options), [], `${destination} is mounted as strictly`);
  }
});
