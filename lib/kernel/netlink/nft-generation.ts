// The generation of this namespace's nftables rules: a number that every transaction changes, whoever made it.
// Assumes the C library can be called; undefined where it cannot, and the caller asks `nft`. One request, some 20 µs:
// cheap enough to ask every second, where listing a table would be a process each time.
// Source: include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h.
import { loadLibc } from '../libc.ts';
import { flags, parseAttributes, Request, viewOf } from './message.ts';
import { NetlinkSocket } from './socket.ts';

const netlinkNetfilter = 12;
const getGen = (10 << 8) | 16; // NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
const genId = 1; // NFTA_GEN_ID

let socket: NetlinkSocket | undefined;

/** Undefined where it cannot be told. */
export function nftGeneration(): number | undefined {
  const libc = loadLibc();
  if (!libc) return undefined;
  try {
    socket ??= NetlinkSocket.open(libc, { protocol: netlinkNetfilter });
    // struct nfgenmsg: family, version, resource id.
    const [answer] = socket.ask(new Request(getGen, flags.request | flags.ack).fixed([1, 0], [1, 0], [2, 0]));
    const bytes = answer && parseAttributes(answer.body.subarray(4)).get(genId);
    return bytes && viewOf(bytes).getUint32(0, false);
  } catch {
    return undefined;
  }
}
