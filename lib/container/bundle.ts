// Makes and removes what one container needs on disk: its folders, its overlay root and its OCI bundle.
// Assumes the Pod's sandbox stands. Everything is checked before the first change, and removing is repeatable.
// Half a dozen small files and one mount a container, 1 ms; the seccomp program is compiled once a capability set.
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { settleAll } from '../exec/errors.ts';
import type { Exec } from '../exec/exec.ts';
import { detectCgroups, killCgroup, removeCgroup } from '../kernel/cgroup.ts';
import { readIfThere } from '../kernel/files.ts';
import { mountOf, mountOverlay, unmount } from '../kernel/mount.ts';
import { type NodePaths, nodePaths } from '../kernel/paths.ts';
import { capabilitiesOfMask, chooseCapabilities } from './oci/capabilities.ts';
import type { ContainerFiles, ContainerRecord } from './container-record.ts';
import type { ContainerConfig, Mount } from './cri.ts';
import { ContainerError } from './errors.ts';
import { hostDevices } from './oci/host-devices.ts';
import type { ImageRoot } from './image/store.ts';
import type { HiddenPath } from './oci/mounts.ts';
import { buildOciSpec, commandLine, type SandboxMounts } from './oci/spec.ts';
import type { OciSpec } from './oci/types.ts';
import { removeStage, stage } from './stage.ts';
import { runtimeDefaultSeccomp, type SeccompProfile } from './oci/seccomp.ts';
import { readSeccompFile } from './oci/seccomp-file.ts';
import { compileSeccomp } from './oci/seccomp-bpf.ts';
import { type ProcessUser, readInRoot, resolveUser } from './oci/user.ts';

export interface BundleInput {
  readonly paths: NodePaths;
  readonly config: ContainerConfig;
  readonly image: ImageRoot;
  readonly sandbox: SandboxMounts;
}

/** What was found out before anything is made. */
export interface BundlePlan {
  readonly user: ProcessUser;
  readonly capabilities: readonly string[];
  /** CAP_… that was asked for and cannot be given here. */
  readonly leftOut: readonly string[];
  /** Its own profile. */
  readonly seccomp?: SeccompProfile;
}

/**
 * Checks everything that can be checked without changing anything.
 * @throws ContainerError CreateContainerConfigError, CreateContainerError (a volume's source is missing, no command)
 */
export function planBundle({ config, image, sandbox }: BundleInput): BundlePlan {
  const { security, name } = config;
  const refuse = (
    code: 'CreateContainerConfigError' | 'CreateContainerError',
    message: string,
    cause?: unknown,
  ): never => {
    throw new ContainerError(code, name, `container ${name}: ${message}`, { cause });
  };
  const orRefuse = <T>(code: 'CreateContainerConfigError' | 'CreateContainerError', work: () => T): T => {
    try {
      return work();
    } catch (error) {
      if (error instanceof RangeError) return refuse(code, error.message, error);
      throw error;
    }
  };
  const user = orRefuse('CreateContainerConfigError', () => resolveUser(userRequest(config, image)));
  if (security.runAsNonRoot && user.uid === 0)
    refuse('CreateContainerConfigError', 'runAsNonRoot is set, and it would run as root: set runAsUser');
  const foreign = sandbox.userns && idOutside(user, sandbox.userns.ids.length);
  if (foreign !== undefined)
    refuse(
      'CreateContainerConfigError',
      `with hostUsers: false a Pod has the ids 0 to ${sandbox.userns!.ids.length - 1}, and it would run as ${foreign}`,
    );
  const chosen = orRefuse('CreateContainerConfigError', () =>
    chooseCapabilities(security, givableCapabilities()),
  );
  orRefuse('CreateContainerError', () => commandLine(config, image.config));
  for (const mount of config.mounts) {
    const fault = sourceFault(mount);
    if (fault) refuse('CreateContainerError', `mount ${mount.containerPath}: ${fault}`);
  }
  const { seccompPath } = security;
  const own =
    seccompPath === undefined
      ? {}
      : { seccomp: orRefuse('CreateContainerError', () => readSeccompFile(seccompPath)) };
  return { user, capabilities: chosen.granted, leftOut: chosen.leftOut, ...own };
}

/** An id of the process that a user namespace of that many ids does not have. */
const idOutside = ({ uid, gid, additionalGids }: ProcessUser, length: number): number | undefined =>
  [uid, gid, ...additionalGids].find((id) => id >= length);

/** What keeps a mount from being what it should be. Mounts that would silently not propagate are refused, as by containerd. */
function sourceFault({ hostPath, propagation = 'private' }: Mount): string | undefined {
  if (!existsSync(hostPath)) return `${hostPath} does not exist`;
  if (propagation === 'private') return undefined;
  const { target, propagation: there } = mountOf(hostPath);
  if (there === 'shared' || (there === 'slave' && propagation === 'rslave')) return undefined;
  const needed = propagation === 'rshared' ? 'a shared mount' : 'a shared or slave mount';
  return `path "${hostPath}" is mounted on "${target}" but it is not ${needed} (see: mount --make-rshared)`;
}

function userRequest(config: ContainerConfig, image: ImageRoot) {
  const { runAsUser, runAsGroup, supplementalGroups, supplementalGroupsPolicy } = config.security;
  const [root] = image.lower;
  return {
    ...(runAsUser === undefined ? {} : { runAsUser }),
    ...(runAsGroup === undefined ? {} : { runAsGroup }),
    supplementalGroups,
    ...(supplementalGroupsPolicy === undefined ? {} : { supplementalGroupsPolicy }),
    imageUser: image.config.User,
    passwd: readInRoot(root, '/etc/passwd'),
    group: readInRoot(root, '/etc/group'),
  };
}

/** Folders and overlay; in a user namespace all that it is made from. Gives what the bundle is to be written from. */
export async function mountRoot(
  input: BundleInput,
  files: ContainerFiles,
  exec?: Exec,
): Promise<{ input: BundleInput; files: ContainerFiles }> {
  const { userns } = input.sandbox;
  if (userns) return stage(input, { userns, files }, exec);
  await mountOwnRoot(files, input.image, exec);
  return { input, files };
}

async function mountOwnRoot(files: ContainerFiles, image: ImageRoot, exec: Exec | undefined): Promise<void> {
  mkdirSync(files.overlay, { recursive: true, mode: 0o700 });
  mkdirSync(files.work, { mode: 0o700 });
  mkdirSync(files.upper);
  mkdirSync(files.rootfs, { mode: 0o755 });
  // The root folder of an overlay is its upper layer's: it must look like the image's.
  const root = statSync(image.lower[0]);
  chmodSync(files.upper, root.mode & 0o7777);
  chownSync(files.upper, root.uid, root.gid);
  await mountOverlay(
    { lower: image.lower, upper: files.upper, work: files.work, target: files.rootfs },
    exec,
  );
}

/** config.json, and the folder of the log. */
export function writeBundle(
  input: BundleInput,
  made: { files: ContainerFiles; record: ContainerRecord; plan: BundlePlan },
): void {
  const { files, record, plan } = made;
  const { config, sandbox, image, paths } = input;
  const seccomp: CompiledSeccomp = plan.seccomp
    ? { profile: plan.seccomp }
    : seccompOf(config, plan.capabilities, files.scratch);
  const spec: OciSpec = buildOciSpec({
    config,
    sandbox,
    image: image.config,
    hostname:
      sandbox.utsPath === undefined ? hostname() : (readIfThere(sandbox.hostnamePath)?.trim() ?? hostname()),
    rootfsPath: files.rootfs,
    cgroupsPath: `/${record.cgroup}`,
    cgroupVersion: detectCgroups().mode === 'v2' ? 'v2' : 'v1',
    user: plan.user,
    capabilities: plan.capabilities,
    ...(seccomp.profile ? { seccomp: seccomp.profile } : {}),
    devices: config.security.privileged ? hostDevices() : [],
    hidden: image.hostRoot ? hiddenPaths(paths) : [],
    annotations: {
      'io.kubernetes.pod.namespace': record.namespace,
      'io.kubernetes.pod.name': record.podName,
      'io.kubernetes.pod.uid': record.podUid,
      'io.kubernetes.container.name': config.name,
      ...(seccomp.program ? { 'run.oci.seccomp_bpf_data': seccomp.program } : {}),
    },
  });
  writeFileSync(files.config, JSON.stringify(spec), { mode: 0o600 });
  mkdirSync(dirname(config.logPath), { recursive: true, mode: 0o755 });
}

/** Removes everything of a container whose processes are gone or may be killed. Repeatable; goes on past failures. */
export async function removeBundle(
  files: ContainerFiles,
  cgroup: string | undefined,
  exec?: Exec,
): Promise<void> {
  const gone = (path: string) => () => rmSync(path, { recursive: true, force: true });
  await settleAll(`remove ${files.bundle}`, [
    ...(cgroup === undefined ? [] : [() => killCgroup(cgroup), () => removeCgroup(cgroup)]),
    gone(files.runtimeState),
    () => removeStage(files.stage, exec),
    () => unmount(files.rootfs, exec),
    () => removeTree(files.overlay),
    gone(files.exit),
    gone(files.bundle), // last: it holds the record of what there is to remove
  ]);
}

/**
 * A container wrote little, or very much. Little goes at once (0.3 ms; a file at a time through the thread pool it
 * would be 2 ms); much goes in other threads, for this one serves all Pods.
 */
async function removeTree(folder: string): Promise<void> {
  if (entriesUpTo(folder, 100) < 100) rmSync(folder, { recursive: true, force: true });
  else await rm(folder, { recursive: true, force: true });
}

function entriesUpTo(folder: string, limit: number): number {
  let count = 0;
  const pending = existsSync(folder) ? [folder] : [];
  while (pending.length > 0 && count < limit) {
    const at = pending.pop()!;
    for (const entry of readdirSync(at, { withFileTypes: true })) {
      count++;
      if (entry.isDirectory()) pending.push(join(at, entry.name));
    }
  }
  return count;
}

/** The machine's root as an image must not show what the nodes on it know, nor the sockets of its services. */
function hiddenPaths(paths: NodePaths): HiddenPath[] {
  const nodes = [nodePaths('/'), paths];
  const closed = new Set(nodes.flatMap((node) => [node.state, node.etc, node.logs, node.run]));
  const outsideRun = [...closed].filter((path) => !path.startsWith('/run/'));
  return [{ path: '/run', writable: true }, ...outsideRun.map((path) => ({ path, writable: false }))];
}

let givable: readonly string[] | undefined;

/** What this process has and may therefore hand on. Read once. */
function givableCapabilities(): readonly string[] {
  givable ??= capabilitiesOfMask(
    readFileSync('/proc/self/status', 'utf8').match(/^CapBnd:\s*([0-9a-f]+)$/m)?.[1] ?? '0',
  );
  return givable;
}

interface CompiledSeccomp {
  readonly profile?: SeccompProfile;
  readonly program?: string | undefined;
}

const compiled = new Map<string, CompiledSeccomp>();

function seccompOf(
  config: ContainerConfig,
  capabilities: readonly string[],
  scratch: string,
): CompiledSeccomp {
  const { privileged, seccomp } = config.security;
  if (privileged || seccomp === 'Unconfined') return {};
  const key = capabilities.join();
  const known = compiled.get(key);
  if (known) return known;
  const profile = runtimeDefaultSeccomp(capabilities, process.arch);
  const fresh = { profile, program: compileSeccomp(profile, scratch) };
  compiled.set(key, fresh);
  return fresh;
}

/** Compiles the profile that nearly all containers have, so that the first one need not wait for it. */
export function warmSeccomp(scratch: string): void {
  const security = {
    privileged: false,
    capabilitiesAdd: [],
    capabilitiesDrop: [],
    seccomp: 'RuntimeDefault',
  };
  const { granted } = chooseCapabilities(security, givableCapabilities());
  seccompOf({ security } as unknown as ContainerConfig, granted, scratch);
}
