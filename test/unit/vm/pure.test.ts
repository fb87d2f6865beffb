// The pure parts of the VM harness: apt's source lists, and words for a shell.
import t from 'tap';
import { parseAptSources } from '../../vm/apt-sources.ts';
import { shellQuote } from '../../vm/machine.ts';

const lists = [
  {
    name: 'one line, with options, disabled ones left out',
    text: '# deb http://no.example/debian bookworm main\ndeb [arch=amd64 signed-by=/k] http://a.example/debian bookworm main\ndeb-src http://b.example/debian bookworm main\n',
    want: [{ uri: 'http://a.example/debian', suites: ['bookworm'] }],
  },
  {
    name: 'deb822, several stanzas, a comment inside, one disabled',
    text: 'Types: deb deb-src\n# a comment\nURIs: http://a.example/debian\nSuites: bookworm bookworm-updates\n\nEnabled: no\nTypes: deb\nURIs: http://b.example\nSuites: x\n\nTypes: deb-src\nURIs: http://c.example\nSuites: x\n',
    want: [{ uri: 'http://a.example/debian', suites: ['bookworm', 'bookworm-updates'] }],
  },
  { name: 'nothing', text: '', want: [] },
];
for (const c of lists)
  t.test(`apt sources: ${c.name}`, async (t) => {
    t.same(parseAptSources(c.text), c.want);
  });

const words = [
  ['plain-1.2/x', 'plain-1.2/x'],
  ['', "''"],
  ['two words', "'two words'"],
  ["it's", "'it'\\''s'"],
  ['$(reboot)', "'$(reboot)'"],
] as const;
for (const [word, want] of words)
  t.test(`a word for a shell: ${JSON.stringify(word)}`, async (t) => {
    t.equal(shellQuote(word), want);
  });
