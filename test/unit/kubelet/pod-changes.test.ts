import t from 'tap';
import type { Pod } from '../../../lib/api/types.ts';
import { graceShortened, wantsSync } from '../../../lib/kubelet/pod-changes.ts';
import { pod } from './fixtures.ts';

const condition = (type: string, status: string) => ({ conditions: [{ type, status }] });
const gates = { readinessGates: [{ conditionType: 'a/b' }] };
const cases: { name: string; before: Pod; after: Pod; work: boolean }[] = [
  { name: 'nothing', before: pod(), after: pod(), work: false },
  { name: 'a deletion', before: pod(), after: pod({}, { deletionTimestamp: 'now' }), work: true },
  {
    name: 'another image',
    before: pod(),
    after: pod({ containers: [{ name: 'a', image: 'j' }] }),
    work: true,
  },
  {
    name: 'a status of its own',
    before: pod(gates),
    after: { ...pod(gates), status: condition('Ready', 'True') },
    work: false,
  },
  {
    name: 'a readiness gate',
    before: { ...pod(gates), status: condition('a/b', 'False') },
    after: { ...pod(gates), status: condition('a/b', 'True') },
    work: true,
  },
  {
    name: "somebody's condition that no gate asks for",
    before: pod(),
    after: { ...pod(), status: condition('a/b', 'True') },
    work: false,
  },
  { name: 'a label', before: pod(), after: pod({}, { labels: { a: 'b' } }), work: false },
];
for (const { name, before, after, work } of cases)
  t.test(name, async (t) => t.equal(wantsSync(before, after), work));

t.test('a grace that became shorter', async (t) => {
  const of = (deletionGracePeriodSeconds?: number) =>
    pod({}, deletionGracePeriodSeconds === undefined ? {} : { deletionGracePeriodSeconds });
  t.equal(graceShortened(of(), of()), false);
  t.equal(graceShortened(of(), of(30)), true, 'the first deletion');
  t.equal(graceShortened(of(30), of(0)), true);
  t.equal(graceShortened(of(1), of(30)), false);
});
