// conditionsV4 and conditionsV6: what a packet must match beside, in nft's words. Only matches of addresses and of the
// incoming interface are taken, each word checked: nothing of a configuration reaches nft unread. Pure.
import { formatCidr, formatIp, networkOf, parseCidr, parseIp } from '../../lib/cni/address.ts';
import { cniError } from '../../lib/cni/errors.ts';
import { badValue, type Fields } from '../../lib/cni/json.ts';
import { isLinkName } from '../../lib/kernel/link.ts';

type Key = 'conditionsV4' | 'conditionsV6';

/** The words, normalised; '' for none. @throws CniError 2 for iptables' form, 7 for what is not understood */
export function parseConditions(conf: Fields, key: Key): string {
  const text = conf
    .strings(key)
    .join(' ')
    .replaceAll(/([{},])/g, ' $1 ')
    .trim();
  if (/^[-!]/.test(text))
    throw cniError(
      'CNI_UNSUPPORTED_FIELD',
      `${key}: ${JSON.stringify(text)} is of iptables; write it as nft has it`,
    );
  const words = text === '' ? [] : text.split(/\s+/);
  const terms: string[] = [];
  while (words.length > 0) terms.push(takeTerm(words, { key, text }));
  return terms.join(' ');
}

interface Place {
  readonly key: Key;
  readonly text: string;
}

/** Takes one match off the front: what, perhaps `!=`, and a value or `{ a, b }`. */
function takeTerm(words: string[], place: Place): string {
  const what = words.shift() ?? '';
  const family = place.key === 'conditionsV4' ? 'ip' : 'ip6';
  const field = what === 'ip' || what === 'ip6' ? `${what} ${words.shift() ?? ''}` : what;
  if (field !== `${family} saddr` && field !== `${family} daddr` && field !== 'iifname') throw bad(place);
  const sign = words[0] === '!=' || words[0] === '==' ? `${words.shift()} ` : '';
  const check = field === 'iifname' ? linkWord : addressWord;
  return `${field} ${sign}${takeValue(words, (word) => check(word, place))}`.replace(' == ', ' ');
}

/** One value, or `{ a, b }` with at least one; a brace that is never closed ends in a word that no check takes. */
function takeValue(words: string[], check: (word: string) => string): string {
  const first = words.shift() ?? '';
  if (first !== '{') return check(first);
  const values = [check(words.shift() ?? '')];
  for (let word = words.shift() ?? ''; word !== '}'; word = words.shift() ?? '') {
    if (word !== ',') values.push(check(word));
  }
  return `{ ${values.join(', ')} }`;
}

function addressWord(word: string, place: Place): string {
  const version = place.key === 'conditionsV4' ? 4 : 6;
  const [ip, net] = [parseIp(word), parseCidr(word)];
  if (ip?.family === version) return formatIp(ip);
  if (net?.ip.family !== version) throw bad(place);
  return formatCidr({ ip: networkOf(net), length: net.length });
}

function linkWord(word: string, place: Place): string {
  const name = word.replace(/^"(.*)"$/, '$1');
  if (!isLinkName(name) || !/^[\w.@-]+$/.test(name)) throw bad(place);
  return `"${name}"`;
}

const bad = ({ key, text }: Place) =>
  badValue(
    key,
    text,
    `matches like "${key === 'conditionsV4' ? 'ip' : 'ip6'} saddr != ${key === 'conditionsV4' ? '10.0.0.0/8' : 'fd00::/8'}" or "iifname eth0"`,
  );
