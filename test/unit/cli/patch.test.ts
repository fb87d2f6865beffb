import t from 'tap';
import { readPatch } from '../../../cmd/podwire/verbs/patch.ts';

const wrong: [given: Parameters<typeof readPatch>[0], says: RegExp][] = [
  [{ type: 'merge' }, /one of --patch and --patch-file/],
  [{ type: 'merge', patch: '{}', patchFile: 'x' }, /one of --patch and --patch-file/],
  [{ type: 'merge', patch: '{"a' }, /unable to read the patch/],
  [{ type: 'merge', patchFile: '/nowhere' }, /ENOENT/],
  [{ type: 'strategic', patch: '[]' }, /must be an object/],
  [{ type: 'strategic', patch: 'null' }, /must be an object/],
  [{ type: 'json', patch: '{}' }, /must be a list of operations/],
];
for (const [given, says] of wrong) t.throws(() => readPatch(given), { message: says }, JSON.stringify(given));

t.strictSame(readPatch({ type: 'strategic', patch: 'spec: {a: 1}' }), { spec: { a: 1 } }, 'YAML');
t.strictSame(readPatch({ type: 'json', patch: '[{"op":"remove","path":"/a"}]' }), [
  { op: 'remove', path: '/a' },
]);
