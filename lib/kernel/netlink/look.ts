// What a link is, asked by rtnetlink: RTM_GETLINK by its name, and the addresses that are on it.
// Assumes a kernel of 4.20 or later filters the addresses; the others are dropped here. Two requests a look.
import type { LinkFacts } from '../net.ts';
import { macText } from '../hash.ts';
import { addressText } from './address.ts';
import { ifa, ifla, iff, infoKind, rtm } from './encode.ts';
import { type Answer, flags, parseAttributes, Request, textOf, viewOf } from './message.ts';
import { NetlinkError, type NetlinkSocket } from './socket.ts';

const enodev = 19;
const skipStatistics = 8; // RTEXT_FILTER_SKIP_STATS: a kilobyte that nobody reads

/** Index of a link; undefined where there is none. */
export function linkIndex(socket: NetlinkSocket, name: string): number | undefined {
  const answer = getLink(socket, { name });
  return answer && indexOf(answer);
}

/** The link with its addresses; undefined where there is none. */
export function lookAt(socket: NetlinkSocket, name: string): LinkFacts | undefined {
  const answer = getLink(socket, { name });
  if (!answer) return undefined;
  const found = parseAttributes(answer.body.subarray(16));
  const u32 = (type: number): number | undefined => {
    const bytes = found.get(type);
    return bytes && viewOf(bytes).getUint32(0, true);
  };
  const alias = found.get(ifla.ifalias);
  const info = found.get(ifla.linkinfo);
  const kind = info && parseAttributes(info).get(infoKind);
  const master = u32(ifla.master);
  const masterName = master === undefined ? undefined : nameOf(socket, master);
  return {
    name: textOf(found.get(ifla.ifname) ?? new Uint8Array()),
    mac: macText(found.get(ifla.address) ?? new Uint8Array()),
    mtu: u32(ifla.mtu) ?? 0,
    up: (viewOf(answer.body).getUint32(8, true) & iff.up) !== 0,
    kind: kind ? textOf(kind) : '',
    addresses: addressesOf(socket, indexOf(answer)),
    ...(alias ? { alias: textOf(alias) } : {}),
    ...(masterName === undefined ? {} : { master: masterName }),
  };
}

const indexOf = (answer: Answer): number => viewOf(answer.body).getInt32(4, true);

function nameOf(socket: NetlinkSocket, index: number): string | undefined {
  const answer = getLink(socket, { index });
  const name = answer && parseAttributes(answer.body.subarray(16)).get(ifla.ifname);
  return name && textOf(name);
}

function getLink(socket: NetlinkSocket, which: { name: string } | { index: number }): Answer | undefined {
  const request = new Request(rtm.getLink, flags.request | flags.ack);
  request.fixed([4, 0], [4, 'index' in which ? which.index : 0], [4, 0], [4, 0]);
  request.u32(ifla.extMask, skipStatistics);
  if ('name' in which) request.name(ifla.ifname, which.name);
  try {
    return socket.ask(request).find(({ type }) => type === rtm.newLink);
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === enodev) return undefined;
    throw error;
  }
}

function addressesOf(socket: NetlinkSocket, index: number): string[] {
  const request = new Request(rtm.getAddr, flags.request | flags.dump);
  request.fixed([4, 0], [4, index]);
  const texts: string[] = [];
  for (const { type, body } of socket.ask(request)) {
    if (type !== rtm.newAddr || viewOf(body).getUint32(4, true) !== index) continue;
    const found = parseAttributes(body.subarray(8));
    const bytes = found.get(ifa.local) ?? found.get(ifa.address);
    if (bytes) texts.push(`${addressText(bytes)}/${body[1]}`);
  }
  return texts;
}
