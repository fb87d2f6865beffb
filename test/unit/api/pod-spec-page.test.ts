// docs/pod-spec.md says what the code does: it is made from the same tables, and this sees that it is the newest.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { fieldsOf } from '../../../lib/api/schema.ts';
import { fieldState, unsupportedFields } from '../../../lib/api/supported.ts';
import type { PodSpec } from '../../../lib/api/types.ts';
import { outputPath, podSpecPage } from '../../../scripts/generate-pod-spec.ts';

t.test('the page is current', async (t) => {
  t.equal(readFileSync(outputPath, 'utf8'), podSpecPage(), 'run: npm run generate');
});

t.test('every field of the spec that the page calls refused is refused, by name', async (t) => {
  for (const [field, { type }] of Object.entries(fieldsOf('PodSpec') ?? {})) {
    const value = type.startsWith('[]') ? [{}] : type.startsWith('{}') ? { a: '1' } : 'x';
    const errors = unsupportedFields({ containers: [], [field]: value } as unknown as PodSpec);
    const isRefused = errors.some((error) => error.field === `spec.${field}`);
    t.equal(isRefused, fieldState('PodSpec', field).state === 'refused', field);
  }
});
