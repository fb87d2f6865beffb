import t from 'tap';
import { bandwidthOf, validateBandwidth } from '../../../lib/api/bandwidth.ts';

const [ingress, egress] = ['kubernetes.io/ingress-bandwidth', 'kubernetes.io/egress-bandwidth'] as const;
const cases: [string, Record<string, string>, object | undefined | RegExp][] = [
  ['nothing', { other: 'x' }, undefined],
  ['one way', { [ingress]: '10M' }, { ingress: 10_000_000 }],
  ['both ways', { [ingress]: '1k', [egress]: '1P' }, { ingress: 1000, egress: 1e15 }],
  ['too little', { [egress]: '999' }, /egress-bandwidth.*999.*from 1k to 1P/],
  ['too much', { [egress]: '2P' }, /from 1k to 1P/],
  ['no quantity', { [ingress]: '10mbit' }, /10mbit/],
];
for (const [name, annotations, expected] of cases) {
  const faults = validateBandwidth(annotations);
  if (expected instanceof RegExp) t.match(`${faults[0]?.field} ${faults[0]?.message}`, expected, name);
  else {
    t.strictSame(faults, [], name);
    t.strictSame(bandwidthOf(annotations), expected, name);
  }
}
