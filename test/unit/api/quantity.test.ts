import t from 'tap';
import {
  compareQuantities,
  isQuantity,
  quantityMilli,
  quantityNanos,
  quantityValue,
} from '../../../lib/api/quantity.ts';

const good: { text: string | number; value: number; milli: number }[] = [
  { text: '100m', value: 1, milli: 100 },
  { text: '0.5', value: 1, milli: 500 },
  { text: '.5', value: 1, milli: 500 },
  { text: 2, value: 2, milli: 2000 },
  { text: '64Mi', value: 67_108_864, milli: 67_108_864_000 },
  { text: '1.5Gi', value: 1_610_612_736, milli: 1_610_612_736_000 },
  { text: '1e3', value: 1000, milli: 1_000_000 },
  { text: '1E-3', value: 1, milli: 1 },
  { text: '1E', value: 1e18, milli: 1e21 },
  { text: '129k', value: 129_000, milli: 129_000_000 },
  { text: '-1', value: -1, milli: -1000 },
  { text: '1n', value: 1, milli: 1 },
  { text: '0', value: 0, milli: 0 },
];
for (const c of good) {
  t.test(`${c.text}`, async (t) => {
    t.ok(isQuantity(c.text));
    t.equal(quantityValue(c.text), c.value);
    t.equal(quantityMilli(c.text), c.milli);
  });
}
for (const text of [
  '',
  'x',
  '1 Mi',
  '64Mib',
  '1.2.3',
  '--1',
  '0x10',
  '1ee3',
  '.',
  null,
  {},
  Number.NaN,
  '9'.repeat(65),
]) {
  t.notOk(isQuantity(text), `${JSON.stringify(text)} is none`);
}
t.equal(compareQuantities('1', '1000m'), 0);
t.equal(compareQuantities('999m', '1'), -1);
t.equal(compareQuantities('1Gi', '1G'), 1);
t.equal(quantityNanos('9007199254740993'), 9_007_199_254_740_993_000_000_000n, 'exact beyond doubles');
t.throws(() => quantityNanos('x'), RangeError);
