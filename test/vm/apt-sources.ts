// The archives that apt knows: both forms of its source lists. Pure. Source: sources.list(5).

export interface AptSource {
  readonly uri: string;
  readonly suites: readonly string[];
}

/** Enabled binary archives of one file; one-line entries and deb822 stanzas may not be mixed in a file, here they may. */
export function parseAptSources(text: string): AptSource[] {
  const lines = text.split('\n').filter((line) => !line.startsWith('#'));
  return [
    ...lines.flatMap(oneLine),
    ...lines
      .join('\n')
      .split(/\n\s*\n/)
      .flatMap(stanza),
  ];
}

function oneLine(line: string): AptSource[] {
  const [, uri, suite] = line.match(/^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)/) ?? [];
  return uri && suite ? [{ uri, suites: [suite] }] : [];
}

function stanza(text: string): AptSource[] {
  const field = (name: string): string[] =>
    text
      .match(new RegExp(`^${name}:(.*(?:\\n[ \\t].*)*)`, 'im'))?.[1]
      ?.split(/\s+/)
      .filter(Boolean) ?? [];
  if (!field('Types').includes('deb') || field('Enabled')[0] === 'no') return [];
  return field('URIs').map((uri) => ({ uri, suites: field('Suites') }));
}
