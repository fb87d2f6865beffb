// Reads a resolv.conf into CNI's dns. Assumes resolv.conf(5): the last of `domain` and of `search` wins. Pure.
import { defined } from '../../lib/cni/result.ts';
import type { CniDns } from '../../lib/cni/types.ts';

export function parseResolvConf(text: string): CniDns {
  const lines = text.split('\n').map((line) =>
    line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/),
  );
  const all = (key: string): string[] =>
    lines.filter(([word]) => word === key).flatMap((words) => words.slice(1));
  const last = (key: string): string[] => lines.findLast(([word]) => word === key)?.slice(1) ?? [];
  const some = (items: string[]): string[] | undefined => (items.length > 0 ? items : undefined);
  return defined({
    nameservers: some(all('nameserver')),
    domain: last('domain')[0],
    search: some(last('search')),
    options: some(all('options')),
  });
}
