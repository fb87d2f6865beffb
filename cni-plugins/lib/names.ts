// Names of what bridge makes, worked out from who it is for: DEL finds them with no memory of the ADD. Pure but for chance.
import { macText, randomBytes, sha256 } from '../../lib/kernel/hash.ts';

const hex = (text: string, length: number): string => sha256(text).slice(0, length);

/** Host ends of one network's pairs begin with this: `veth` and 3 hex digits. */
export const vethPrefix = (network: string): string => `veth${hex(network, 3)}`;

/** `veth`, 3 hex digits of the network, 8 of the attachment: 15 characters, the kernel's limit. */
export const vethName = (network: string, containerId: string, ifname: string): string =>
  `${vethPrefix(network)}${hex(`${containerId}\n${ifname}`, 8)}`;

/** A locally administered unicast MAC (the 02 bit set, the 01 bit clear). */
export function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] as number) & 0xfc) | 0x02;
  return macText(bytes);
}

/** `podwire: <namespace>/<pod> <ifname>`, or the container's id where no Pod is named. At most 255 characters. */
export function aliasOf(owner: {
  args: Readonly<Record<string, string>>;
  containerId: string;
  ifname: string;
}): string {
  const { K8S_POD_NAMESPACE: namespace = '', K8S_POD_NAME: pod = '' } = owner.args;
  const who = namespace !== '' && pod !== '' ? `${namespace}/${pod}` : owner.containerId;
  return `podwire: ${who} ${owner.ifname}`.replaceAll(/[^ -~]|["\\]/g, '_').slice(0, 255);
}
