// Who a connection belongs to: root on the Unix socket, or the holder of a certificate of the cluster's CA.
// Assumes TLS servers ask for a certificate and let every handshake pass, so that a refusal can say why. O(1), once a
// connection.
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { ApiError } from '../../api/errors.ts';
import { clockText, groups, type Identity, nodeUidPrefix, nodeUserPrefix } from '../../pki/certificate.ts';
import { identityOfPeer } from '../../pki/peer.ts';

export type User = Identity;

const local: User = { name: 'system:admin', groups: [groups.masters] };
const known = new WeakMap<Socket, User>();

/** undefined: somebody without a certificate. @throws ApiError Unauthorized for a certificate that is not good. */
export function userOf(socket: Socket): User | undefined {
  if (!(socket instanceof TLSSocket)) return local;
  const before = known.get(socket);
  if (before) return before;
  const peer = socket.getPeerCertificate();
  if (!peer?.subject) return undefined;
  if (!socket.authorized) throw refused(identityOfPeer(peer), socket, peer);
  const user = identityOfPeer(peer);
  known.set(socket, user);
  return user;
}

function refused(user: User, socket: TLSSocket, peer: { valid_from: string; valid_to: string }): ApiError {
  const clock = `this server's clock says ${clockText(Date.now())}`;
  const reason = String(socket.authorizationError);
  const whose = `the certificate of ${JSON.stringify(user.name)}`;
  if (reason === 'CERT_HAS_EXPIRED')
    return new ApiError(
      'Unauthorized',
      `${whose} expired at ${peer.valid_to}; ${clock}; join again with a new token (podwire token create)`,
    );
  if (reason === 'CERT_NOT_YET_VALID')
    return new ApiError('Unauthorized', `${whose} is valid only from ${peer.valid_from}; ${clock}`);
  return new ApiError('Unauthorized', `${whose} is not of this cluster's CA (${reason})`);
}

/** The node that the user is; undefined for any other user. */
export function nodeOf(user: User | undefined): string | undefined {
  if (!user?.groups.includes(groups.nodes) || !user.name.startsWith(nodeUserPrefix)) return undefined;
  return user.name.slice(nodeUserPrefix.length);
}

/** The Node object that the certificate is of; undefined where it names none. */
export const nodeUidOf = ({ groups }: User): string | undefined =>
  groups.find((group) => group.startsWith(nodeUidPrefix))?.slice(nodeUidPrefix.length);

export const isMaster = (user: User | undefined): boolean => user?.groups.includes(groups.masters) ?? false;
