import t from 'tap';
import { whatIsNew } from '../../../bench/lib/footprint.ts';
import { summarize } from '../../../bench/lib/stats.ts';
import { caseNames, parseOptions } from '../../../bench/options.ts';
import {
  type Measurement,
  showMeasurement,
  showSteps,
  showVerdicts,
  verdicts,
} from '../../../bench/report.ts';

const measured = (peers: Record<string, number>, goals: Partial<Measurement> = {}): Measurement => ({
  title: 'start',
  unit: 'ms',
  base: 'containerd',
  peers: Object.fromEntries(Object.entries(peers).map(([name, value]) => [name, summarize([value])])),
  ...goals,
});

const cases = [
  {
    name: 'reached',
    measurement: measured({ podwire: 40, containerd: 80 }, { goalRatio: 0.6 }),
    want: [true],
  },
  {
    name: 'reached exactly',
    measurement: measured({ podwire: 48, containerd: 80 }, { goalRatio: 0.6 }),
    want: [true],
  },
  {
    name: 'missed',
    measurement: measured({ podwire: 60, containerd: 80 }, { goalRatio: 0.6 }),
    want: [false],
  },
  {
    name: 'nothing to compare with',
    measurement: measured({ podwire: 40 }, { goalRatio: 0.6 }),
    want: [false],
  },
  { name: 'podwire not measured', measurement: measured({ containerd: 80 }, { goalRatio: 0.6 }), want: [] },
  { name: 'a value', measurement: measured({ podwire: 151 }, { goalValue: 150 }), want: [false] },
  {
    name: 'both kinds',
    measurement: measured({ podwire: 9, containerd: 9 }, { goalRatio: 0.6, goalValue: 10 }),
    want: [false, true],
  },
  {
    name: 'at least, reached',
    measurement: measured({ podwire: 97, containerd: 100 }, { goalLeastRatio: 0.97 }),
    want: [true],
  },
  {
    name: 'at least, missed',
    measurement: measured({ podwire: 96, containerd: 100 }, { goalLeastRatio: 0.97 }),
    want: [false],
  },
  { name: 'no goal', measurement: measured({ podwire: 40, containerd: 80 }), want: [] },
];
for (const c of cases)
  t.test(`verdicts: ${c.name}`, async (t) => {
    t.same(
      verdicts([c.measurement]).map(({ reached }) => reached),
      c.want,
    );
  });

t.test('rounds: ratios within a round, and goals against each base', async (t) => {
  const rounds = { podwire: [9, 90, 19], 'by hand': [10, 100, 20], masquerade: [9, 90, 18] };
  const measurement: Measurement = {
    title: 'ping',
    unit: 'µs',
    base: 'by hand',
    furtherBases: ['masquerade'],
    peers: Object.fromEntries(Object.entries(rounds).map(([name, values]) => [name, summarize(values)])),
    rounds,
    goalLeastRatio: 0.97,
  };
  t.same(verdicts([measurement]), [
    { title: 'ping', text: '0.90 × by hand (goal: at least 0.97)', reached: false },
    { title: 'ping', text: '1.00 × masquerade (goal: at least 0.97)', reached: true },
  ]);
  t.match(showMeasurement(measurement), /podwire\s+19\.0\s+9\.00\s+90\.0\s+0\.90\n/);
});

t.test('showMeasurement: ratio beside all but the base', async (t) => {
  const text = showMeasurement(measured({ podwire: 40, containerd: 80 }));
  t.match(text, /× containerd/);
  t.match(text, /podwire\s+40\.0\s+40\.0\s+40\.0\s+0\.50\n/);
  t.match(text, /containerd\s+80\.0\s+80\.0\s+80\.0\n/);
  t.notMatch(showMeasurement(measured({ podwire: 40 })), /× containerd/, 'no column without the base');
});

t.test('showSteps and showVerdicts', async (t) => {
  t.match(
    showSteps({ title: 'Steps', steps: [{ name: 'netns', runs: 3, start: 0.6, ms: 12.71 }] }),
    /netns\s+0\.6\s+12\.7\n/,
  );
  t.equal(
    showVerdicts([
      { title: 'a', text: 'x', reached: true },
      { title: 'b', text: 'y', reached: false },
    ]),
    '  ✓ a: x\n  ✗ b: y\n',
  );
});

t.test('whatIsNew: only what came, as often as it came', async (t) => {
  const before = { link: ['lo', 'eth0'], mount: ['/a'] };
  t.same(whatIsNew(before, { link: ['lo', 'eth0'], mount: ['/a'] }), []);
  t.same(whatIsNew(before, { link: ['eth0'], mount: [] }), [], 'what went is not new');
  t.same(whatIsNew(before, { link: ['lo', 'eth0', 'veth1'], mount: ['/a', '/a'] }), [
    'link veth1',
    'mount /a',
  ]);
  t.same(whatIsNew({}, { rule: ['x'] }), ['rule x']);
});

t.test('parseOptions: defaults, lists', async (t) => {
  const { only, peers, runs, pods, concurrency } = parseOptions([]);
  t.same(
    { only, peers, runs, pods, concurrency },
    {
      only: [...caseNames],
      peers: ['podwire', 'containerd', 'podman'],
      runs: 20,
      pods: 50,
      concurrency: undefined,
    },
  );
  t.same(parseOptions(['--only', 'cni,start', '--runs', '5']).only, ['cni', 'start']);
});
