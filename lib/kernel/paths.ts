// Every path podwire uses on a node, all moved together by --root so that several nodes can live on one machine.
// What dies with the boot is under run/, what lasts under var/lib/, what a person writes under etc/.
import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';

export interface NodePaths {
  /** '/' unless told by --root. */
  readonly root: string;
  /** Short tag of the root, '' for '/': put into names of kernel objects that all nodes of a machine share. */
  readonly tag: string;
  /** /run/podwire */
  readonly run: string;
  /** /run/podwire/podwired.sock */
  readonly socket: string;
  /** /run/podwire/sandboxes: a folder a sandbox */
  readonly sandboxes: string;
  /** /run/podwire/containers: a folder a container (its bundle) */
  readonly containers: string;
  /** /run/podwire/exits: conmon writes a file a dead container */
  readonly exits: string;
  /**
   * /run/podwire-userns, whatever the root: the ids of users that Pods of this machine have for themselves, and what their
   * containers are made from. Its folders can be passed through by those ids, which a root of 0700 cannot.
   */
  readonly userns: string;
  /** /var/lib/podwire */
  readonly state: string;
  /** /var/lib/podwire/images */
  readonly images: string;
  /** /var/lib/podwire/overlay: upper and work folders, one a container */
  readonly overlay: string;
  /** /var/lib/podwire/pods: volumes, one folder a Pod uid */
  readonly pods: string;
  /** /var/lib/podwire/cni: leases and the runtime's result cache */
  readonly cni: string;
  /** /var/lib/podwire/pki: certificates and keys */
  readonly pki: string;
  /** /etc/podwire */
  readonly etc: string;
  /** /etc/podwire/manifests: static Pods */
  readonly manifests: string;
  /** /etc/podwire/seccomp: profiles that a Pod may name (Localhost) */
  readonly seccomp: string;
  /** /etc/podwire/cni/net.d: conflists */
  readonly cniConf: string;
  /** /var/log/podwire: the daemon's log, and pods/NAMESPACE_NAME_UID/CONTAINER/N.log */
  readonly logs: string;
  /** podwire, or podwire-<tag>: name of the cgroup above all Pods, without a leading slash */
  readonly cgroup: string;
}

/** The paths below `root`. Pure. */
export function nodePaths(root = '/'): NodePaths {
  const base = resolve(root);
  const tag = base === '/' ? '' : createHash('sha256').update(base).digest('hex').slice(0, 6);
  const run = join(base, 'run/podwire');
  const state = join(base, 'var/lib/podwire');
  const etc = join(base, 'etc/podwire');
  return {
    root: base,
    tag,
    run,
    socket: join(run, 'podwired.sock'),
    sandboxes: join(run, 'sandboxes'),
    containers: join(run, 'containers'),
    exits: join(run, 'exits'),
    userns: '/run/podwire-userns',
    state,
    images: join(state, 'images'),
    overlay: join(state, 'overlay'),
    pods: join(state, 'pods'),
    cni: join(state, 'cni'),
    pki: join(state, 'pki'),
    etc,
    manifests: join(etc, 'manifests'),
    seccomp: join(etc, 'seccomp'),
    cniConf: join(etc, 'cni/net.d'),
    logs: join(base, 'var/log/podwire'),
    cgroup: tag === '' ? 'podwire' : `podwire-${tag}`,
  };
}
