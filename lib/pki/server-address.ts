// HOST:PORT as people write it, both ways. Pure.
import { isIP } from 'node:net';

/** HOST:PORT, [ADDRESS]:PORT. */
export const isServer = (text: string): boolean => splitServer(text) !== undefined;

/** The two parts of HOST:PORT; an IPv6 address loses its brackets. */
export function splitServer(text: string): { host: string; port: number } | undefined {
  const [, v6, name, digits] = /^(?:\[([0-9a-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = v6 ?? name;
  const port = Number(digits);
  if (host === undefined || port < 1 || port > 65535 || (v6 !== undefined && isIP(v6) !== 6))
    return undefined;
  return { host, port };
}

export const joinServer = (host: string, port: number): string =>
  isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
