// Which container is meant when none is named, and what is said of it.
import t from 'tap';
import { defaultContainerOf } from '../../../cmd/podwire/default-container.ts';
import type { Pod } from '../../../lib/api/types.ts';

const one = { name: 'a' };
const two = { name: 'b' };
const annotated = (name: string) => ({ 'kubectl.kubernetes.io/default-container': name });
const cases = [
  { name: 'no choice', spec: { containers: [one] }, want: { name: 'a' } },
  {
    name: 'several',
    spec: { containers: [one, two] },
    want: { name: 'a', told: 'Defaulted container "a" out of: a, b' },
  },
  {
    name: 'others beside it',
    spec: { containers: [one], initContainers: [{ name: 'i' }], ephemeralContainers: [{ name: 'e' }] },
    want: { name: 'a', told: 'Defaulted container "a" out of: a, i (init), e (ephem)' },
  },
  {
    name: 'the Pod says',
    annotations: annotated('b'),
    spec: { containers: [one, two] },
    want: { name: 'b' },
  },
  {
    name: 'the Pod says one that it has not',
    annotations: annotated('c'),
    spec: { containers: [one, two] },
    want: { name: 'a', told: 'Defaulted container "a" out of: a, b' },
  },
];
for (const { name, spec, annotations = {}, want } of cases)
  t.test(name, async (t) => {
    const pod = { metadata: { name: 'p', namespace: 'default', annotations }, spec } as unknown as Pod;
    t.strictSame(defaultContainerOf(pod), want);
  });
