import t from 'tap';
import { planDrain } from '../../../cmd/podwire/drain-plan.ts';
import type { Pod } from '../../../lib/api/types.ts';

const pod = (
  name: string,
  more: { owner?: string; spec?: object; phase?: string; mirror?: boolean } = {},
): Pod => {
  const { owner, spec = {}, phase = 'Running', mirror } = more;
  const ownerReferences = owner ? [{ kind: owner, name: 'o', controller: true }] : undefined;
  const annotations = mirror ? { 'kubernetes.io/config.mirror': 'x' } : undefined;
  return {
    metadata: { namespace: 'ns', name, ownerReferences, annotations },
    spec,
    status: { phase },
  } as unknown as Pod;
};
const emptyDir = { volumes: [{ name: 'v', emptyDir: {} }] };

for (const { name, pods, flags, leave, warnings, refusals } of [
  {
    name: 'what a controller makes anew leaves, mirrors stay',
    pods: [pod('a', { owner: 'ReplicaSet' }), pod('m', { mirror: true })],
    flags: {},
    leave: ['a'],
    warnings: [],
    refusals: [],
  },
  {
    name: 'nothing is deleted for good without being told',
    pods: [pod('bare'), pod('d', { owner: 'DaemonSet' }), pod('e', { owner: 'ReplicaSet', spec: emptyDir })],
    flags: {},
    leave: ['bare', 'd', 'e'],
    warnings: [],
    refusals: [
      'cannot delete Pods that declare no controller (use --force to override): ns/bare',
      'cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): ns/d',
      'cannot delete Pods with local storage (use --delete-emptydir-data to override): ns/e',
    ],
  },
  {
    name: 'told',
    pods: [pod('bare', { spec: emptyDir }), pod('d', { owner: 'DaemonSet' })],
    flags: { force: true, ignoreDaemonsets: true, deleteEmptydirData: true },
    leave: ['bare'],
    warnings: [
      'deleting Pods with local storage: ns/bare',
      'deleting Pods that declare no controller: ns/bare',
      'ignoring DaemonSet-managed Pods: ns/d',
    ],
    refusals: [],
  },
  {
    name: 'one that has ended leaves whatever it is',
    pods: [pod('over', { phase: 'Succeeded', spec: emptyDir })],
    flags: {},
    leave: ['over'],
    warnings: [],
    refusals: [],
  },
])
  t.test(name, async (t) => {
    const plan = planDrain(pods, flags);
    t.same(
      plan.leave.map(({ metadata }) => metadata.name),
      leave,
    );
    t.same(plan.warnings, warnings);
    t.same(plan.refusals, refusals);
  });
