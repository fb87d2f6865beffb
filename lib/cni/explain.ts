// Turns the trace of a Pod's network into a shell script that builds the same by hand: what `podwire explain` prints.
// Assumes lines as lib/kernel/trace.ts has them. Steps that found their outcome already there are guarded, so the script
// runs on a machine that has the bridge and on one that has not. Pure.
import type { TraceLine } from '../kernel/trace.ts';

/** A shell script (POSIX sh, set -eu), ending in a line end. */
export function explainScript(lines: readonly TraceLine[], about: string): string {
  const head = [
    '#!/bin/sh',
    `# ${about.replaceAll(/[\r\n]/g, ' ')}`,
    '# The commands that built it, in order. Run as root.',
    'set -eu',
  ];
  const blocks = undoneLeftOut(lines).map(block);
  return `${[...head, ...blocks.filter((text) => text !== '')].join('\n')}\n`;
}

/** What was made and then removed again (a try that failed, an undo) is no part of what stands. */
function undoneLeftOut(lines: readonly TraceLine[]): readonly TraceLine[] {
  const kept: TraceLine[] = [];
  for (const line of lines) {
    const removed = line.tool === 'ip' ? removedLink(line) : undefined;
    if (removed === undefined) kept.push(line);
    else dropMaking(kept, removed);
  }
  return kept;
}

const removedLink = (line: TraceLine): string | undefined =>
  /^link del dev (\S+)$/.exec(line.lines[0] ?? '')?.[1];

/** Takes out the lines that name the link, and what was done in other namespaces since it was made. */
function dropMaking(kept: TraceLine[], link: string): void {
  const names = (text: string): boolean => text.split(' ').includes(link);
  const made = kept.findLastIndex((line) =>
    line.lines.some((text) => text.startsWith(`link add name ${link} `)),
  );
  if (made < 0) return;
  const rest = kept.splice(made).filter((line) => line.netns === undefined);
  kept.push(...rest.map((line) => ({ ...line, lines: line.lines.filter((text) => !names(text)) })));
}

function block(line: TraceLine): string {
  switch (line.tool) {
    case 'ip':
    case 'bridge':
      return line.lines.map((text) => ipCommand(text, line)).join('\n');
    case 'tc':
      return line.lines.map((text) => `${inside(line.netns)}tc ${shellWords(text)}`).join('\n');
    case 'nft':
      return `${inside(line.netns)}nft -f - <<'NFT'\n${line.lines.join('\n')}\nNFT`;
    case 'sysctl':
      return line.lines
        .map((text) => `${inside(line.netns)}sysctl -qw ${shellWords(dotted(text))}`)
        .join('\n');
  }
}

function ipCommand(text: string, { tool, netns, held }: TraceLine): string {
  const program = ip(netns, tool);
  const command = `${program} ${shellWords(text)}`;
  const guard = held ? guardOf(text) : undefined;
  return guard === undefined ? command : `${program} ${guard} >/dev/null 2>&1 || ${command}`;
}

/** The question that tells whether a held line's outcome is there; lines without one may be repeated as they are. */
function guardOf(text: string): string | undefined {
  const link = /^link add name (\S+)/.exec(text)?.[1];
  if (link !== undefined) return `link show dev ${shellWord(link)}`;
  const netns = /^netns add (\S+)/.exec(text)?.[1];
  return netns === undefined ? undefined : `netns pids ${shellWord(netns)}`;
}

const isPath = (netns: string): boolean => netns.includes('/');

function ip(netns: string | undefined, tool: string): string {
  if (netns === undefined) return tool;
  return isPath(netns) ? `nsenter --net=${shellWord(netns)} ${tool}` : `${tool} -n ${shellWord(netns)}`;
}

function inside(netns: string | undefined): string {
  if (netns === undefined) return '';
  return isPath(netns) ? `nsenter --net=${shellWord(netns)} ` : `ip netns exec ${shellWord(netns)} `;
}

/** sysctl(8) takes both forms; dots are what people write, where no part of the key has one itself. */
const dotted = (text: string): string => {
  const [key = '', value = ''] = text.split('=');
  return `${key.includes('/') && !key.includes('.') ? key.replaceAll('/', '.') : key}=${value}`;
};

/** The words of a batch line (ip's double quotes taken off) as words of a shell. */
function shellWords(text: string): string {
  const words = text.match(/"[^"]*"|\S+/g) ?? [];
  return words.map((word) => shellWord(word.startsWith('"') ? word.slice(1, -1) : word)).join(' ');
}

function shellWord(word: string): string {
  return /^[\w.:@%/+,=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
