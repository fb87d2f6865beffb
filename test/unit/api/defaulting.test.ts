import t from 'tap';
import { defaultPodSpec, defaultPullPolicy, qosClassOf } from '../../../lib/api/defaulting.ts';
import type { PodSpec } from '../../../lib/api/types.ts';

t.test('a least Pod becomes whole', async (t) => {
  const spec: PodSpec = { containers: [{ name: 'a', image: 'nginx' }] };
  defaultPodSpec(spec);
  const whole = {
    containers: [
      {
        name: 'a',
        image: 'nginx',
        imagePullPolicy: 'Always',
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
        resources: {},
      },
    ],
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    terminationGracePeriodSeconds: 30,
    securityContext: {},
    schedulerName: 'default-scheduler',
    enableServiceLinks: true,
    serviceAccountName: 'default',
    serviceAccount: 'default',
    preemptionPolicy: 'PreemptLowerPriority',
    priority: 0,
  };
  t.strictSame(spec, whole);
  defaultPodSpec(spec);
  t.strictSame(spec, whole, 'and stays so');
});

t.test('what was chosen is kept', async (t) => {
  const chosen: PodSpec = {
    containers: [{ name: 'a', image: 'x:latest', imagePullPolicy: 'Never', terminationMessagePath: '/m' }],
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 0,
    enableServiceLinks: false,
    serviceAccountName: 'me',
  };
  const spec = structuredClone(chosen);
  defaultPodSpec(spec);
  t.match(spec, chosen);
  t.equal(spec.serviceAccount, 'me');
});

t.test('details', async (t) => {
  const spec: PodSpec = {
    hostNetwork: true,
    containers: [
      {
        name: 'a',
        ports: [{ containerPort: 80 }],
        env: [{ name: 'N', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
        resources: { limits: { cpu: 1, memory: '1Gi' }, requests: { cpu: '100m' } },
      },
    ],
    volumes: [{ name: 'v' }, { name: 'h', hostPath: { path: '/x' } }],
  };
  defaultPodSpec(spec);
  t.match(spec.containers[0], {
    ports: [{ containerPort: 80, hostPort: 80, protocol: 'TCP' }],
    env: [{ valueFrom: { fieldRef: { apiVersion: 'v1' } } }],
    resources: { requests: { cpu: '100m', memory: '1Gi' } },
  });
  t.strictSame(spec.volumes, [
    { name: 'v', emptyDir: {} },
    { name: 'h', hostPath: { path: '/x', type: '' } },
  ]);
});

const policies: [string, string][] = [
  ['nginx', 'Always'],
  ['nginx:latest', 'Always'],
  ['nginx:1.27', 'IfNotPresent'],
  ['reg:5000/nginx', 'Always'],
  ['reg:5000/nginx:1', 'IfNotPresent'],
  ['nginx@sha256:abc', 'IfNotPresent'],
  ['nginx:latest@sha256:abc', 'IfNotPresent'],
];
for (const [image, policy] of policies) t.equal(defaultPullPolicy(image), policy, image);

const resources = (limits?: object, requests?: object) => ({ name: 'a', resources: { limits, requests } });
const classes: [string, object[], string][] = [
  ['nothing', [resources()], 'BestEffort'],
  ['zero', [resources({ cpu: 0 })], 'BestEffort'],
  ['limits alone', [resources({ cpu: 1, memory: '1Gi' })], 'Guaranteed'],
  ['equal', [resources({ cpu: '1', memory: '1Gi' }, { cpu: '1000m', memory: '1024Mi' })], 'Guaranteed'],
  ['one of two', [resources({ cpu: 1, memory: '1Gi' }), resources()], 'Burstable'],
  ['no memory', [resources({ cpu: 1 })], 'Burstable'],
  ['less asked', [resources({ cpu: 1, memory: '1Gi' }, { cpu: '1m' })], 'Burstable'],
  ['only storage', [resources({ 'ephemeral-storage': '1Gi' })], 'BestEffort'],
];
for (const [name, containers, expected] of classes)
  t.equal(qosClassOf({ containers } as PodSpec), expected, `QoS: ${name}`);
