import t from 'tap';
import { buildProgram } from '../../../cmd/podwire/program.ts';
import { resources } from '../../../lib/api/resources.ts';
import { wantedAt } from '../../../cmd/podwire/verbs/completion.ts';

const program = buildProgram();
const at = (...words: string[]) => {
  const { flags: _, ...wanted } = wantedAt(program, words);
  return wanted.type === 'choices' ? wanted.choices.map(([value]) => value) : wanted;
};

t.test('verbs', async (t) => {
  const verbs = at('');
  for (const verb of ['up', 'apply', 'get', 'exec', 'doctor']) t.ok((verbs as string[]).includes(verb), verb);
  t.notOk((verbs as string[]).includes('complete'), 'the hidden verb is not offered');
  t.same(at('image', ''), ['ls', 'pull', 'import', 'rm']);
});

t.test('flags', async (t) => {
  t.ok((at('logs', 'web', '--f') as string[]).includes('--follow'));
  t.ok((at('logs', '-') as string[]).includes('--namespace'), 'global flags too');
  t.same(at('up', '--runtime', ''), ['crun', 'runc']);
  t.same(at('get', 'pods', '--output', '=', 'j'), ['wide', 'json', 'yaml', 'name', 'jsonpath=']);
  t.same(at('get', 'pods', '--output=j'), ['wide', 'json', 'yaml', 'name', 'jsonpath=']);
  t.same(at('apply', '-f', ''), { type: 'files' });
});

t.test('names', async (t) => {
  t.same(at('get', ''), Object.keys(resources));
  t.same(at('get', 'pods', ''), { type: 'names', resource: 'pods', prefix: '' });
  t.same(at('delete', 'pod/w'), { type: 'names', resource: 'pods', prefix: 'pod/' });
  t.same(at('get', 'nonsense', ''), []);
  t.same(at('-n', ''), { type: 'names', resource: 'namespaces', prefix: '' });
  t.same(at('exec', '-n', 'x', ''), { type: 'names', resource: 'pods', prefix: '' });
  t.same(at('logs', 'web', '-c', ''), { type: 'containers', pod: 'web' });
  t.same(at('explain', ''), { type: 'names', resource: 'pods', prefix: 'pod/' });
  t.equal(
    wantedAt(program, ['get', '-n', 'other', 'pods', '']).flags.namespace,
    'other',
    'the namespace typed before counts',
  );
});
