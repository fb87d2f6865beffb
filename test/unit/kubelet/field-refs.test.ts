// What fieldRef and resourceFieldRef give, rounded as Kubernetes rounds.
import t from 'tap';
import { environment, needsPodIP } from '../../../lib/kubelet/environment.ts';
import { expandAll } from '../../../lib/kubelet/expansion.ts';
import { fieldValue, resourceValue } from '../../../lib/kubelet/field-refs.ts';
import { tmpfsOptions } from '../../../lib/kubelet/volumes/empty-dir.ts';
import { pod } from './fixtures.ts';

const node = { cpu: 4, memory: 8 * 2 ** 30, ephemeralStorage: 10_000 };
const limited = {
  name: 'a',
  resources: { limits: { cpu: '1250m', memory: '100Mi' }, requests: { cpu: '250m' } },
};

const amounts: [resource: string, divisor: string | number | undefined, want: string][] = [
  ['limits.cpu', undefined, '2'],
  ['limits.cpu', '0', '2'],
  ['limits.cpu', '1m', '1250'],
  ['requests.cpu', '1', '1'],
  ['limits.memory', '1Mi', '100'],
  ['limits.memory', '1Gi', '1'],
  ['limits.memory', '1k', '104858'],
  ['requests.memory', '1', '0'],
  ['limits.ephemeral-storage', '1k', '10'],
];
for (const [resource, divisor, want] of amounts)
  t.test(`${resource} in ${divisor}`, async (t) => {
    const ref = { resource, ...(divisor === undefined ? {} : { divisor }) };
    t.equal(resourceValue(limited, ref, node), want);
  });
t.equal(resourceValue({ name: 'b' }, { resource: 'limits.cpu' }, node), '4', "without a limit: the node's");
t.equal(resourceValue({ name: 'b' }, { resource: 'limits.memory', divisor: '1Gi' }, node), '8');

const facts = { hostIP: '192.0.2.1', podIPs: ['10.0.0.2', 'fd00::2'], node };
const labelled = pod({}, { labels: { b: 'say "x"', a: '1' } });
t.equal(fieldValue(labelled, facts, 'metadata.labels'), 'a="1"\nb="say \\"x\\""');
t.equal(fieldValue(labelled, facts, "metadata.labels['a']"), '1');
t.equal(fieldValue(labelled, facts, 'status.podIPs'), '10.0.0.2,fd00::2');
t.equal(fieldValue(labelled, facts, 'status.hostIPs'), '192.0.2.1');
t.throws(() => fieldValue(labelled, facts, 'spec.x'), RangeError);
t.ok(
  needsPodIP({ name: 'a', env: [{ name: 'X', valueFrom: { fieldRef: { fieldPath: 'status.podIPs' } } }] }),
);

t.equal(expandAll('$(A)/$$(A)/b', new Map([['A', 'x']])), 'x/$(A)/b');
t.throws(() => expandAll('$(NOPE)', new Map()), { message: 'missing value for "NOPE"' });

t.test('a value of a Secret stands in no error', async (t) => {
  const secret = { data: { k: Buffer.from('hidden').toString('base64') } } as never;
  const container = {
    name: 'a',
    env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 's', key: 'other' } } }],
  };
  const data = { configMaps: new Map(), secrets: new Map([['s', secret]]) };
  t.throws(() => environment(pod(), container, facts, data), {
    code: 'CreateContainerConfigError',
    message: "couldn't find key other in Secret default/s",
  });
});

t.test('a tmpfs is no larger than its limit, nor than the Pod may have', async (t) => {
  const volume = (sizeLimit?: string) => ({
    name: 'v',
    emptyDir: { medium: 'Memory', ...(sizeLimit ? { sizeLimit } : {}) },
  });
  t.equal(tmpfsOptions(pod(), volume()), 'mode=0777,nosuid,nodev');
  t.equal(tmpfsOptions(pod(), volume('1Mi')), 'mode=0777,nosuid,nodev,size=1048576');
  t.equal(
    tmpfsOptions(pod({ containers: [limited] }), volume('1Gi')),
    'mode=0777,nosuid,nodev,size=104857600',
  );
  t.equal(tmpfsOptions(pod({ securityContext: { fsGroup: 7 } }), volume()), 'mode=02777,gid=7,nosuid,nodev');
});
