// Who is at the far end of a TLS connection, and connections that accept only whom they are meant for.
// Assumes every certificate of the cluster is signed by its one CA, so the subject alone tells who is who: an address
// that is translated on the way, or a name that a server does not know it has, changes nothing.
import { Agent } from 'node:https';
import type { PeerCertificate } from 'node:tls';
import { type Credentials, groups, type Identity, nodeUserPrefix } from './certificate.ts';

export function identityOfPeer({ subject }: Pick<PeerCertificate, 'subject'>): Identity {
  const one = (value: string | string[] | undefined): string[] =>
    value === undefined ? [] : Array.isArray(value) ? value : [value];
  return { name: one(subject?.CN)[0] ?? '', groups: one(subject?.O) };
}

/** An identity a connection must find at its far end. */
export interface Expected {
  /** For messages: `a podwire server`, `node two`. */
  readonly what: string;
  matches(identity: Identity): boolean;
}

export const aServer: Expected = {
  what: 'a podwire server',
  matches: (identity) => identity.groups.includes(groups.servers),
};

export const theNode = (name: string): Expected => ({
  what: `node ${name}`,
  matches: (identity) =>
    identity.name === `${nodeUserPrefix}${name}` && identity.groups.includes(groups.nodes),
});

/** Kept-alive connections with these credentials to whom is expected. */
export function agentFor(credentials: Credentials, expected: Expected): Agent {
  const { ca, cert, key } = credentials;
  return new Agent({
    keepAlive: true,
    // libuv probes a silent connection ten times, a second apart: a machine that is gone is noticed in 20 s.
    keepAliveMsecs: 10_000,
    ...{ ca, cert, key },
    minVersion: 'TLSv1.2',
    servername: '', // an address is no name, and there is one certificate
    checkServerIdentity: (_host, peer) => {
      const found = identityOfPeer(peer);
      if (expected.matches(found)) return undefined;
      return Object.assign(
        new Error(`the certificate at the other end is that of "${found.name}", not of ${expected.what}`),
        { code: 'ERR_TLS_CERT_ALTNAME_INVALID' },
      );
    },
  });
}

/** An agent that is made anew when its credentials were renewed. */
export class AgentKeeper {
  readonly #credentials: () => Credentials;
  readonly #expected: Expected;
  #made: { agent: Agent; cert: string } | undefined;

  constructor(credentials: () => Credentials, expected: Expected) {
    this.#credentials = credentials;
    this.#expected = expected;
  }

  get(): Agent {
    const credentials = this.#credentials();
    if (this.#made?.cert !== credentials.cert) {
      this.close();
      this.#made = { agent: agentFor(credentials, this.#expected), cert: credentials.cert };
    }
    return this.#made!.agent;
  }

  close(): void {
    this.#made?.agent.destroy();
    this.#made = undefined;
  }
}
