// A backend as people write it: its name, and what differs from its defaults: `vxlan,vni=5,port=4789`. Pure.
// Assumes that all nodes of a cluster are given the same text; a node with another one is no peer, and said to be none.
import { PodwireError } from '../exec/errors.ts';
import { type BackendConfig, type BackendName, backendNames } from './types.ts';

const port = { least: 1, most: 65535 };
/** Which numbers each takes. */
const numbers: Readonly<Record<BackendName, Readonly<Record<string, { least: number; most: number }>>>> = {
  vxlan: { vni: { least: 1, most: 2 ** 24 - 1 }, port },
  'host-gw': {},
  wireguard: { port },
  ipip: {},
};

/** @throws PodwireError BAD_NETWORK_BACKEND that names the part */
export function parseBackend(text: string): BackendConfig {
  const [given = '', ...parts] = text.split(',');
  const bad = (what: string) =>
    new PodwireError('BAD_NETWORK_BACKEND', `network backend ${JSON.stringify(text)}: ${what}`);
  const name = backendNames.find((one) => one === given);
  if (!name) throw bad(`expected one of ${backendNames.join(', ')}`);
  const options = parts.map((part) => {
    const [key = '', value = ''] = part.split('=');
    if (name === 'vxlan' && key === 'tx-offload') {
      if (value !== 'off' && value !== 'on') throw bad('tx-offload: expected on or off');
      return ['txOffload', value];
    }
    const range = Object.hasOwn(numbers[name], key) ? numbers[name][key] : undefined;
    if (!range) {
      const known = [...Object.keys(numbers[name]), ...(name === 'vxlan' ? ['tx-offload'] : [])];
      throw bad(`${JSON.stringify(key)}: ${name} takes ${known.join(', ') || 'no options'}`);
    }
    const value_ = /^\d{1,8}$/.test(value) ? Number(value) : -1;
    if (value_ < range.least || value_ > range.most)
      throw bad(`${key}: expected ${range.least} to ${range.most}, got ${JSON.stringify(value)}`);
    return [key, value_];
  });
  return { name, ...Object.fromEntries(options) } as BackendConfig;
}
