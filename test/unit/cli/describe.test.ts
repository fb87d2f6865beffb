import t from 'tap';
import { describeNode } from '../../../cmd/podwire/print/describe-node.ts';
import { describePod, startStepsKey } from '../../../cmd/podwire/print/describe-pod.ts';
import type { Event, Node, Pod } from '../../../lib/api/types.ts';

const now = Date.parse('2026-01-01T12:10:00Z');
const steps = [
  { name: 'netns', start: 0, ms: 2 },
  { name: 'cni', start: 2, ms: 8 },
];
const pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    ...{
      name: 'web',
      namespace: 'default',
      uid: 'u1',
      resourceVersion: '7',
      creationTimestamp: '2026-01-01T12:00:00Z',
    },
    labels: { tier: 'front', app: 'web' },
    annotations: { [startStepsKey]: JSON.stringify(steps), note: 'hello' },
  },
  spec: {
    nodeName: 'n1',
    volumes: [
      { name: 'page', emptyDir: {} },
      { name: 'etc', hostPath: { path: '/etc', type: 'Directory' } },
    ],
    containers: [
      {
        name: 'server',
        image: 'localhost/host',
        command: ['sh', '-c'],
        args: ['echo one\necho two\n'],
        ports: [{ containerPort: 80, protocol: 'TCP' }],
        env: [
          { name: 'A', value: '1' },
          { name: 'IP', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'status.podIP' } } },
        ],
        resources: { limits: { cpu: '500m', memory: '64Mi' } },
        volumeMounts: [{ name: 'page', mountPath: '/page', readOnly: true }],
      },
      { name: 'writer', image: 'localhost/host' },
    ],
  },
  status: {
    phase: 'Running',
    qosClass: 'Burstable',
    hostIP: '10.0.0.1',
    podIP: '10.244.0.2',
    podIPs: [{ ip: '10.244.0.2' }],
    startTime: '2026-01-01T12:00:00Z',
    conditions: [{ type: 'Ready', status: 'False', reason: 'ContainersNotReady' }],
    containerStatuses: [
      {
        ...{
          name: 'server',
          image: 'localhost/host',
          imageID: '',
          containerID: 'podwire://abc',
          ready: true,
          restartCount: 2,
        },
        state: { running: { startedAt: '2026-01-01T12:00:01Z' } },
        lastState: {
          terminated: {
            exitCode: 137,
            reason: 'OOMKilled',
            startedAt: '2026-01-01T12:00:00Z',
            finishedAt: '2026-01-01T12:00:01Z',
          },
        },
      },
      {
        ...{ name: 'writer', image: 'localhost/host', imageID: '', ready: false, restartCount: 0 },
        state: { waiting: { reason: 'ErrImagePull', message: 'no such image' } },
      },
    ],
  },
} as unknown as Pod;
const event = {
  type: 'Warning',
  reason: 'BackOff',
  message: 'Back-off restarting\nfailed container',
  count: 4,
  firstTimestamp: '2026-01-01T12:09:20Z',
  lastTimestamp: '2026-01-01T12:09:57Z',
  source: { component: 'kubelet' },
  metadata: { creationTimestamp: '2026-01-01T12:09:20Z' },
} as unknown as Event;

const golden = `Name:         web
Namespace:    default
Priority:     0
Node:         n1/10.0.0.1
Start Time:   Thu, 01 Jan 2026 12:00:00 +0000
Labels:       app=web
              tier=front
Annotations:  note: hello
Status:       Running
IP:           10.244.0.2
IPs:          10.244.0.2
Containers:
  server:
    Container ID:   podwire://abc
    Image:          localhost/host
    Image ID:
    Port:           80/TCP
    Host Port:      0/TCP
    Command:        sh
                    -c
    Args:           echo one
                    echo two
    State:          Running
                    Started: Thu, 01 Jan 2026 12:00:01 +0000
    Last State:     Terminated
                    Reason: OOMKilled
                    Exit Code: 137
                    Started: Thu, 01 Jan 2026 12:00:00 +0000
                    Finished: Thu, 01 Jan 2026 12:00:01 +0000
    Ready:          True
    Restart Count:  2
    Limits:         cpu: 500m
                    memory: 64Mi
    Environment:    A: 1
                    IP: (v1:status.podIP)
    Mounts:         /page from page (ro)
  writer:
    Container ID:
    Image:          localhost/host
    Image ID:
    Port:           <none>
    Host Port:      <none>
    State:          Waiting
                    Reason: ErrImagePull
                    Message: no such image
    Ready:          False
    Restart Count:  0
    Environment:    <none>
    Mounts:         <none>
Conditions:
  Type    Status   Reason
  Ready   False    ContainersNotReady
Volumes:
  page:
    Type:       EmptyDir (lives as long as the Pod)
    Medium:
    SizeLimit:  <unset>
  etc:
    Type:          HostPath (a path of the machine)
    Path:          /etc
    HostPathType:  Directory
QoS Class:  Burstable
Start-up:  10.0 ms
  netns      2.0 ms  |████████                                |
  cni        8.0 ms  |        ████████████████████████████████|
Events:
  Type      Reason    Age                From      Message
  ----      ------    ---                ----      -------
  Warning   BackOff   3s (x4 over 40s)   kubelet   Back-off restarting failed container
`;

t.test('a Pod', async (t) => {
  t.equal(describePod(pod, [event], now), golden);
});

t.test('a Pod that has nothing yet', async (t) => {
  const text = describePod(
    { ...pod, metadata: { ...pod.metadata, annotations: { [startStepsKey]: 'no json' } }, status: {} } as Pod,
    [],
    now,
  );
  t.match(text, /^Annotations: {2}<none>$/m);
  t.match(text, /^Status: +Unknown$/m);
  t.match(text, /^Events: {2}<none>$/m);
  t.notMatch(text, /Start-up/);
});

t.test('a node with its Pods', async (t) => {
  const node = {
    metadata: { name: 'n1', uid: 'u', resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.0/24', 'fd00::/64'] },
    status: {
      addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
      capacity: { cpu: '2', pods: '250' },
      nodeInfo: { kernelVersion: '6.18' },
    },
  } as unknown as Node;
  t.equal(
    describeNode(node, { pods: [pod], events: [], now }),
    `Name:               n1
Labels:             <none>
Annotations:        <none>
CreationTimestamp:  Thu, 01 Jan 2026 00:00:00 +0000
Taints:             <none>
Unschedulable:      false
PodCIDR:            10.244.0.0/24
PodCIDRs:           10.244.0.0/24,fd00::/64
Addresses:
  InternalIP:  10.0.0.1
Capacity:
  cpu:   2
  pods:  250
System Info:
  Kernel Version:  6.18
Pods:  (1 in total)
  Namespace   Name   CPU Requests   Memory Requests   Age
  default     web    0              0                 10m
Events:  <none>
`,
  );
});
