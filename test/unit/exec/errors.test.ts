// What many failures at once become: nothing is cut short, one error stays itself, several are one AggregateError.
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { allSettledOrThrow, settleAll } from '../../../lib/exec/errors.ts';

t.test('allSettledOrThrow waits for all and throws what failed', async (t) => {
  t.same(await allSettledOrThrow('none', []), []);
  t.same(await allSettledOrThrow('results', [sleep(5, 'slow'), Promise.resolve('fast'), 3]), [
    'slow',
    'fast',
    3,
  ]);
  let slowEnded = false;
  const slow = async (): Promise<never> => {
    await sleep(20);
    slowEnded = true;
    throw new Error('late');
  };
  const one = new Error('at once');
  await t.rejects(allSettledOrThrow('one', [Promise.reject(one), sleep(20)]), one);
  const error = await allSettledOrThrow('two', [Promise.reject(one), slow()]).catch((thrown) => thrown);
  t.ok(slowEnded, 'a failure does not cut the others short');
  t.type(error, AggregateError);
  t.equal(error.message, 'two: at once; late');
  t.equal(error.errors[0], one);
});

t.test('settleAll goes on past what fails, in order', async (t) => {
  const done: number[] = [];
  const step = (number: number) => () => {
    done.push(number);
    if (number !== 2) throw new Error(`${number}`);
  };
  await t.rejects(settleAll('steps', [step(1), step(2), step(3)]), { message: 'steps: 1; 3' });
  t.same(done, [1, 2, 3]);
});
