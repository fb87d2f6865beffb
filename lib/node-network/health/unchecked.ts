// A UDP socket whose packets carry no checksum (RFC 768 allows zero in IPv4), which no device can therefore get wrong.
// Assumes system calls by FFI (lib/kernel/libc.ts); Node has no such option. Four calls a socket.
import { KernelError } from '../../kernel/errors.ts';
import { loadLibc } from '../../kernel/libc.ts';

// Source: socket(7), socket(2); the numbers are those of Linux on all machines that libc.ts knows.
const inet = 2;
const datagram = 2;
const nonBlockingCloseOnExec = 0o4000 | 0o2000000;
const solSocket = 1;
const soNoCheck = 11;

/** A bound descriptor for dgram's bind({ fd }). @throws KernelError EOPNOTSUPP without FFI, else what the kernel said */
export function uncheckedSocket(address: string, port: number): number {
  const libc = loadLibc();
  if (!libc)
    throw new KernelError(
      'EOPNOTSUPP',
      'SO_NO_CHECK',
      'packets without UDP checksum need FFI: a checksum fault will not be told apart from a blocked port',
    );
  const fd = libc.socket(inet, datagram | nonBlockingCloseOnExec, 0);
  const done = fd < 0 ? fd : libc.setsockopt(fd, solSocket, soNoCheck, new Uint8Array([1, 0, 0, 0]));
  const bound = done < 0 ? done : libc.bind(fd, socketAddress(address, port));
  if (bound >= 0) return fd;
  if (fd >= 0) libc.close(fd);
  throw new KernelError('EADDRNOTAVAIL', address, `udp ${address}:${port}: errno ${-bound}`);
}

/** struct sockaddr_in, ip(7): family in the machine's order, port and address in the network's. */
function socketAddress(address: string, port: number): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set([inet, 0, port >> 8, port & 255, ...address.split('.').map(Number)]);
  return bytes;
}
