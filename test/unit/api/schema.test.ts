import { readFileSync } from 'node:fs';
import t from 'tap';
import { isFormFault } from '../../../lib/api/field-errors.ts';
import { checkSchema, fieldsOf, nearest } from '../../../lib/api/schema.ts';
import { formatSchema, generateSchema, outputPath } from '../../../scripts/generate-schema.ts';

t.test('the committed schema is what the generator makes of the installed package', async (t) => {
  const generated = formatSchema(generateSchema());
  t.ok(generated === readFileSync(outputPath, 'utf8'), 'else run: npm run generate');
  for (const type of [
    'Pod',
    'PodSpec',
    'Container',
    'Node',
    'Namespace',
    'Event',
    'Binding',
    'DeleteOptions',
    'ObjectMeta',
  ])
    t.ok(fieldsOf(type), type);
  t.strictSame(fieldsOf('ContainerPort')?.containerPort, { type: 'integer', required: true });
  t.strictSame(fieldsOf('PodSpec')?.restartPolicy?.enum, ['Always', 'Never', 'OnFailure']);
  t.equal(fieldsOf('ResourceRequirements')?.limits?.type, '{}Quantity');
  t.equal(fieldsOf('constructor'), undefined);
});

const pod = (spec: object, metadata: object = { name: 'web' }): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata,
  spec: { containers: [{ name: 'a' }], ...spec },
});

const cases: { name: string; object: unknown; says: string[]; isForm?: boolean }[] = [
  { name: 'a good Pod', object: pod({}), says: [] },
  {
    name: 'null is as good as absent',
    object: pod({ volumes: null }, { name: 'web', creationTimestamp: null }),
    says: [],
  },
  {
    name: 'an unknown field deep inside, with its neighbour',
    object: pod({ containers: [{ name: 'a', imagee: 'x' }] }),
    says: ['spec.containers[0].imagee: unknown field "spec.containers[0].imagee", did you mean "image"?'],
    isForm: true,
  },
  {
    name: 'an unknown field with nothing near',
    object: pod({ zzzzzzzz: 1 }),
    says: ['spec.zzzzzzzz: unknown field "spec.zzzzzzzz"'],
    isForm: true,
  },
  {
    name: 'wrong case and swapped letters',
    object: pod({ restartpolicy: 'Always', contianers: [] }),
    says: [
      'spec.restartpolicy: unknown field "spec.restartpolicy", did you mean "restartPolicy"?',
      'spec.contianers: unknown field "spec.contianers", did you mean "containers"?',
    ],
    isForm: true,
  },
  {
    name: 'names every object has in JavaScript are unknown, too',
    object: pod({ toString: 1, constructor: 'x' }),
    says: [
      'spec.toString: unknown field "spec.toString"',
      'spec.constructor: unknown field "spec.constructor"',
    ],
    isForm: true,
  },
  {
    name: 'wrong types, all of them',
    object: pod({
      containers: [
        { name: 7, args: 'ls', ports: [{ containerPort: 80 }, { containerPort: '80' }], tty: 'yes' },
      ],
      terminationGracePeriodSeconds: 1.5,
      nodeSelector: ['a'],
      securityContext: 'none',
    }),
    says: [
      'spec.containers[0].name: Invalid value: 7: must be a string, not a number',
      'spec.containers[0].args: Invalid value: "ls": must be a list, not a string',
      'spec.containers[0].ports[1].containerPort: Invalid value: "80": must be an integer, not a string',
      'spec.containers[0].tty: Invalid value: "yes": must be true or false, not a string',
      'spec.terminationGracePeriodSeconds: Invalid value: 1.5: must be an integer, not a number',
      'spec.nodeSelector: Invalid value: ["a"]: must be a map, not a list',
      'spec.securityContext: Invalid value: "none": must be an object (PodSecurityContext), not a string',
    ],
    isForm: true,
  },
  {
    name: 'a list with a hole',
    object: pod({ containers: [null] }),
    says: ['spec.containers[0]: Invalid value: null: must be an object (Container), not null'],
    isForm: true,
  },
  {
    name: 'quantities, times, integers or texts',
    object: pod(
      {
        containers: [{ name: 'a', resources: { limits: { cpu: 1, memory: '64Mib' } } }],
        tolerations: [{ tolerationSeconds: 1e300 }],
      },
      { name: 'web', creationTimestamp: 'yesterday', labels: { a: 1 } },
    ),
    says: [
      'metadata.creationTimestamp: Invalid value: "yesterday": must be a time like 2026-01-31T08:00:00Z (RFC 3339), not a string',
      'metadata.labels[a]: Invalid value: 1: must be a string, not a number',
      'spec.containers[0].resources.limits[memory]: Invalid value: "64Mib": must be a quantity such as 100m, 0.5 or 64Mi, not a string',
      'spec.tolerations[0].tolerationSeconds: Invalid value: 1e+300: must be an integer, not a number',
    ],
    isForm: true,
  },
  {
    name: 'what is missing and what is not on the list are faults of value',
    object: pod({ containers: [{}], restartPolicy: 'Sometimes' }),
    says: [
      'spec.containers[0].name: Required value',
      'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
    ],
    isForm: false,
  },
  { name: 'an empty text leaves an enum out', object: pod({ restartPolicy: '' }), says: [] },
  {
    name: 'no object at all',
    object: [],
    says: [': Invalid value: []: must be an object (Pod), not a list'],
    isForm: true,
  },
];

for (const c of cases) {
  t.test(c.name, async (t) => {
    const errors = checkSchema('Pod', structuredClone(c.object));
    t.strictSame(
      errors.map(({ field, message }) => `${field}: ${message}`),
      c.says,
    );
    if (c.isForm !== undefined) t.ok(errors.every((error) => isFormFault(error) === c.isForm));
  });
}

t.test('what is missing is there afterwards, as its zero value', async (t) => {
  const object = { apiVersion: 'v1', kind: 'Event', metadata: {} } as Record<string, unknown>;
  t.strictSame(
    checkSchema('Event', object).map(({ field }) => field),
    ['involvedObject'],
  );
  t.strictSame(object.involvedObject, {});
});

t.test('nearest', async (t) => {
  t.equal(nearest('imgae', ['image', 'name']), 'image');
  t.equal(nearest('hostNetwrok', ['hostNetwork', 'hostname']), 'hostNetwork');
  t.equal(nearest('x', ['image', 'name']), undefined);
  t.equal(nearest('entirelyElse', ['image', 'name']), undefined);
});
