// Whose an element of an nftables set is, in its comment: a short key of network and attachment, then words for people.
// Assumes comments of at most 120 characters (the kernel keeps 128): the key comes first, so cutting never hurts it. Pure.
import { sha256 } from '../../lib/kernel/hash.ts';
import { nftComment } from '../../lib/kernel/nftables.ts';

export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
}

/** What GC and DEL need to know of a call. */
export interface Attachments {
  readonly name: string;
  readonly validAttachments: readonly Attachment[];
}

const hex = (text: string, length: number): string => sha256(text).slice(0, length);

/** 8 hex digits of the network, a dot, 16 of container and interface. */
export const ownerKey = (network: string, { containerId, ifname }: Attachment): string =>
  `${hex(network, 8)}.${hex(`${containerId}\n${ifname}`, 16)}`;

/** The comment of an element, in nft's quotes: key, container, interface. */
export const ownerComment = (network: string, owner: Attachment): string =>
  nftComment(`${ownerKey(network, owner)} ${owner.containerId} ${owner.ifname}`);

/** The key at the head of a comment. */
export const keyOf = (comment: string): string => comment.split(' ', 1)[0] ?? '';

/** The words after the key: container and interface. */
export const ownerWords = (comment: string): string => comment.slice(keyOf(comment).length + 1) || 'somebody';

/** Tells the comments of this network whose attachment is not among the valid ones. */
export function isStaleIn({ name, validAttachments }: Attachments): (comment: string) => boolean {
  const valid = new Set(validAttachments.map((one) => ownerKey(name, one)));
  const ours = `${hex(name, 8)}.`;
  return (comment) => comment.startsWith(ours) && !valid.has(keyOf(comment));
}
