// A connection to a port of a Pod through a runtime's streaming server: SPDY, a pair of streams a connection.
// Assumes the URL that the CRI's PortForward gave: it is good for one use, soon. One TCP connection each.
// Source: Kubernetes' portforward.k8s.io protocol: headers streamType, port, requestID; an error's text on its own stream.
import { Duplex } from 'node:stream';
import { PodwireError } from '../exec/errors.ts';
import { upgrade } from './remote-exec.ts';

/** @throws CriError RUNTIME_FAILED; a refused port ends the connection with PORT_REFUSED */
export async function openRemotePort(url: string, port: number): Promise<Duplex> {
  const connection = await upgrade(url, 'portforward.k8s.io');
  const pair = { port: `${port}`, requestID: '0' };
  const error = await connection.open({ streamType: 'error', ...pair });
  error.end(); // we have nothing to say on it
  const data = await connection.open({ streamType: 'data', ...pair });
  const duplex = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, done) => {
      data.write(chunk);
      done();
    },
    final: (done) => {
      data.end();
      done();
    },
    destroy: (cause, done) => {
      connection.close();
      done(cause);
    },
  });
  error.listen({
    data: (text) => void duplex.destroy(new PodwireError('PORT_REFUSED', text.toString())),
    end: () => {},
  });
  data.listen({ data: (chunk) => void duplex.push(Buffer.from(chunk)), end: () => void duplex.push(null) });
  connection.onClose = () => void duplex.destroy();
  return duplex;
}
