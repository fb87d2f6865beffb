// The client of podwired's API over its unix socket. A module of its own, so that verbs load it late.
import { HttpClient } from '../../lib/api/http/client.ts';

export const connect = (socketPath: string): HttpClient => new HttpClient({ socketPath });
