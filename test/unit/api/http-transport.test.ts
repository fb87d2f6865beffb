// When a request that failed may be sent to another server.
import t from 'tap';
import { wasNotSent } from '../../../lib/api/http/transport.ts';

for (const [code, syscall, wanted] of [
  ['ECONNREFUSED', 'connect', true],
  ['ENOTFOUND', 'getaddrinfo', true],
  ['ETIMEDOUT', undefined, true], // our own limit of a connection
  ['ETIMEDOUT', 'read', false], // the far side had it, and is gone
  ['EHOSTUNREACH', 'write', false],
  ['ECONNRESET', 'read', false],
  ['ESILENT', undefined, false],
] as const)
  t.equal(
    wasNotSent(Object.assign(new Error(code), { code, ...(syscall ? { syscall } : {}) })),
    wanted,
    `${syscall} ${code}`,
  );
