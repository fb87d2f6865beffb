import t from 'tap';
import type { Pod } from '../../../lib/api/types.ts';
import type { RuntimeService } from '../../../lib/container/cri.ts';
import { ContainerStopper, type PreStop } from '../../../lib/kubelet/container-stopper.ts';
import type { EventRecorder } from '../../../lib/api/events.ts';
import { StopOrder } from '../../../lib/kubelet/stop-order.ts';
import { until } from '../../until.ts';
import { container, pod } from './fixtures.ts';

const names = (...list: string[]) => list.map((name) => ({ name, image: 'i' }));
const sidecars = (...list: string[]) => names(...list).map((one) => ({ ...one, restartPolicy: 'Always' }));
const tick = (ms = 5) => new Promise((resolve) => setTimeout(resolve, ms));

t.test('who waits for whom', async (t) => {
  const { spec } = pod({
    initContainers: [...names('init'), ...sidecars('s1', 's2')],
    containers: names('a', 'b'),
  });
  const cases = [
    { running: ['init', 's1', 's2', 'a', 'b'], who: 's1', waits: ['s2', 'a', 'b'] },
    { running: ['s1', 's2', 'a', 'b'], who: 's2', waits: ['a', 'b'] },
    { running: ['s1', 's2', 'a', 'b'], who: 'a', waits: [] },
    { running: ['s1', 'b'], who: 's1', waits: ['b'] },
    { running: ['init', 's1'], who: 's1', waits: [] },
    { running: ['init', 's1'], who: 'init', waits: [] },
  ];
  for (const { running, who, waits } of cases) t.same(new StopOrder(spec, running).waitsFor(who), waits);
});

/** A runtime whose containers end when told, or at their deadline. */
function stopper(preStop: PreStop = async () => {}) {
  const asked: { id: string; grace: number }[] = [];
  const ends = new Map<string, () => void>();
  const runtime = {
    stopContainer: (id: string, grace: number) => {
      asked.push({ id, grace });
      return new Promise<void>((resolve) => {
        if (grace === 0) ends.get(id)?.();
        const before = ends.get(id);
        ends.set(id, () => {
          before?.();
          resolve();
        });
        if (grace === 0) resolve();
      });
    },
  } as unknown as RuntimeService;
  const events = { record: () => {} } as unknown as EventRecorder;
  return {
    asked,
    end: (id: string) => ends.get(id)?.(),
    it: new ContainerStopper({ runtime, events, preStop }),
  };
}

t.test('sidecars are asked last, in reverse', async (t) => {
  const { it, asked, end } = stopper();
  const spec = { initContainers: sidecars('s1', 's2'), containers: names('a') };
  const containers = ['s1', 's2', 'a'].map((name) => container({ id: name, name }));
  const stopping = it.stopAll(pod(spec), { sandboxes: [], containers }, 30);
  const order: string[][] = [];
  for (const id of ['a', 's2', 's1']) {
    await tick();
    order.push(asked.map((one) => one.id));
    end(id);
  }
  await stopping;
  t.same(order, [['a'], ['a', 's2'], ['a', 's2', 's1']]);
});

t.test('the hook is part of the grace; TERM still gets a little', async (t) => {
  const overrun: PreStop = (_pod, _container, signal) =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
  const { it, asked, end } = stopper(overrun);
  const request = { pod: pod(), container: { id: 'c1', name: 'a' }, message: 'm' };
  const stopping = it.stop({ ...request, graceSeconds: 1 });
  await tick(500);
  t.same(asked, [], 'the hook still runs');
  await until(() => asked.length > 0);
  t.same(asked, [{ id: 'c1', grace: 1 }]);
  end('c1');
  await stopping;
});

t.test('a shorter grace reaches the hook and the container', async (t) => {
  const web: Pod = pod();
  const request = { pod: web, container: { id: 'c1', name: 'a' }, message: 'm', graceSeconds: 600 };
  const inHook = stopper(
    (_pod, _container, signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve())),
  );
  const first = inHook.it.stop(request);
  await tick();
  inHook.it.hurry('another', 0);
  await tick();
  t.same(inHook.asked, []);
  inHook.it.hurry('u1', 0);
  await first;
  t.same(inHook.asked, [{ id: 'c1', grace: 0 }], 'by force: no time for TERM');

  const inTerm = stopper();
  const second = inTerm.it.stop(request);
  await tick();
  inTerm.it.hurry('u1', 900);
  t.equal(inTerm.asked.length, 1, 'longer is no hurry');
  inTerm.it.hurry('u1', 0);
  await second;
  t.equal(inTerm.asked[1]?.grace, 0);
});
