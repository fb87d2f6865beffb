// The client of podwired's API over its unix socket.
import type { Client } from '../../lib/api/client.ts';
import { HttpClient } from '../../lib/api/http-client.ts';

export function connect(socketPath: string): Client {
  return new HttpClient({ socketPath });
}
