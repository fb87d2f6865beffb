// A TCP probe: the port takes connections, or it does not.
// Assumes nothing of what listens: the connection is closed without a byte. One socket a probe.
import { connect } from 'node:net';
import { failure, hostPort, networkError, type ProbeResult } from './result.ts';

export interface TcpTarget {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
}

/** Never rejects. */
export function probeTcp({ host, port, timeoutMs }: TcpTarget): Promise<ProbeResult> {
  const address = hostPort(host, port);
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (result: ProbeResult): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => end(failure(`dial tcp ${address}: i/o timeout`)), timeoutMs);
    socket.once('connect', () => end({ outcome: 'success', output: '' }));
    socket.on('error', (error) => end(failure(networkError(error, address))));
  });
}
