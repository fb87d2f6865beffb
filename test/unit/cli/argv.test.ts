import t from 'tap';
import { normalizeArgv } from '../../../cmd/podwire/argv.ts';

const cases: ReadonlyArray<{ name: string; given: string[]; wanted: string[] }> = [
  { name: 'plain words stay', given: ['get', 'pods', '-n', 'a'], wanted: ['get', 'pods', '-n', 'a'] },
  { name: '-o=json', given: ['get', '-o=json'], wanted: ['get', '-o', 'json'] },
  { name: '-l keeps its own equals signs', given: ['get', '-l=app=web'], wanted: ['get', '-l', 'app=web'] },
  { name: '--wait=false', given: ['delete', '--wait=false'], wanted: ['delete', '--no-wait'] },
  { name: '--wait is the default', given: ['delete', '--wait', 'pod', 'x'], wanted: ['delete', 'pod', 'x'] },
  { name: '--follow=true', given: ['logs', '--follow=true'], wanted: ['logs', '--follow'] },
  { name: '--follow=false', given: ['logs', '--follow=false'], wanted: ['logs'] },
  { name: '--dry-run alone', given: ['apply', '--dry-run'], wanted: ['apply', '--dry-run=client'] },
  { name: '--dry-run=server', given: ['apply', '--dry-run=server'], wanted: ['apply', '--dry-run=server'] },
  { name: 'other long flags with true stay', given: ['x', '--name=true'], wanted: ['x', '--name=true'] },
  {
    name: 'nothing after -- is touched',
    given: ['exec', 'p', '--tty=true', '--', 'ls', '-o=json', '--wait'],
    wanted: ['exec', 'p', '--tty', '--', 'ls', '-o=json', '--wait'],
  },
];
for (const c of cases)
  t.test(c.name, async (t) => {
    t.same(normalizeArgv(c.given), c.wanted);
  });
