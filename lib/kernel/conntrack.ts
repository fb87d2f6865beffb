// Forgetting connections: entries of conntrack that still lead where a mapping led, or did not lead, before.
// Assumes conntrack-tools; it is no failure where they are missing, but the caller is told. One process a filter (2 ms).
import { ExecError } from '../exec/errors.ts';
import { runLazily } from '../exec/run-lazily.ts';
import { KernelError, toKernelError } from './errors.ts';
import { type KernelOptions, netnsArgv } from './ip.ts';

export interface FlowFilter {
  readonly family: 4 | 6;
  readonly protocol: 'udp' | 'tcp' | 'sctp';
  /** The port that the first packet was sent to, before any translation. */
  readonly port: number;
  /** The address that it was sent to; absent: any. */
  readonly address?: string;
}

/** argv of conntrack(8) that deletes the entries. Pure. */
export function dropFlowsArgv({ family, protocol, port, address }: FlowFilter): [string, ...string[]] {
  const to = address === undefined ? [] : ['--orig-dst', address];
  return ['conntrack', '-D', '-f', `ipv${family}`, '-p', protocol, '--orig-port-dst', String(port), ...to];
}

/** Deletes what matches. False: there is no `conntrack` program, nothing was done. @throws KernelError */
export async function dropFlows(
  filters: readonly FlowFilter[],
  options: KernelOptions = {},
): Promise<boolean> {
  const { netns, exec = runLazily } = options;
  for (const filter of filters) {
    const argv = netnsArgv(netns, dropFlowsArgv(filter));
    try {
      const { exitCode, stderr } = await exec({ argv, okCodes: [0, 1] });
      // 1 is said of "nothing matched", which is well, and of failures alike.
      if (exitCode === 1 && !/flow entries have been deleted/.test(stderr))
        throw new KernelError('EUNKNOWN', 'conntrack', `${argv.join(' ')}: ${stderr.trim()}`);
    } catch (error) {
      if (error instanceof ExecError && error.code === 'EXEC_NOT_FOUND') return false;
      throw toKernelError(error, argv.join(' '));
    }
  }
  return true;
}
