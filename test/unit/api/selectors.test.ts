import t from 'tap';
import { parseFieldSelector, parseLabelSelector, parseSelectors } from '../../../lib/api/selectors.ts';
import type { ApiObject } from '../../../lib/api/types.ts';

const labels = { app: 'web', tier: 'front', 'example.com/x': '', n: '1' };
const byLabel: [string, boolean][] = [
  ['', true],
  ['app=web', true],
  ['app==web', true],
  ['app=db', false],
  ['app!=db', true],
  ['missing!=x', true],
  ['missing=x', false],
  ['app', true],
  ['!app', false],
  ['!missing', true],
  ['example.com/x', true],
  ['example.com/x=', true],
  ['app in (web, db)', true],
  ['app in (db)', false],
  ['app notin (db)', true],
  ['missing notin (db)', true],
  ['app=web,tier=front', true],
  ['app=web, tier=back', false],
  ['app in (a,web),tier notin (x,y),n', true],
];
for (const [text, expected] of byLabel) t.equal(parseLabelSelector(text)(labels), expected, `label ${text}`);
for (const text of ['a b', '=x', 'a=b=c', 'a in x', 'a in (b c)', 'a=(', 'a > 1', '-a=b'])
  t.throws(() => parseLabelSelector(text), { code: 'BadRequest' }, `label ${text} is refused`);

const pod = {
  metadata: { name: 'web', namespace: 'n' },
  spec: { nodeName: 'n1', hostNetwork: true },
  status: { phase: 'Running' },
} as unknown as ApiObject;
const byField: [string, boolean][] = [
  ['', true],
  ['metadata.name=web', true],
  ['metadata.name==web,spec.nodeName=n1', true],
  ['status.phase!=Running', false],
  ['status.podIP=', true],
  ['spec.hostNetwork=true', true],
  ['spec.nodeName!=', true],
];
for (const [text, expected] of byField)
  t.equal(parseFieldSelector('pods', text)(pod), expected, `field ${text}`);
t.throws(() => parseFieldSelector('pods', 'spec.containers=x'), {
  code: 'BadRequest',
  message: /not supported: spec.containers/,
});
t.throws(() => parseFieldSelector('pods', 'metadata.name'), { code: 'BadRequest' });
const event = {
  metadata: {},
  involvedObject: { uid: 'u' },
  source: { component: 'kubelet' },
} as unknown as ApiObject;
t.ok(parseFieldSelector('events', 'involvedObject.uid=u,source=kubelet')(event));
t.equal(parseFieldSelector('nodes', 'spec.unschedulable=false')({ metadata: {} } as ApiObject), true);
t.equal(parseSelectors('pods', {}), undefined, 'nothing asked, nothing to do');
t.equal(parseSelectors('pods', { labelSelector: 'a', fieldSelector: 'metadata.name=web' })?.(pod), false);
