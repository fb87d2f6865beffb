// The OpenAPI documents as kubectl reads them: for apply's patches, for explain, for who validates.
import t from 'tap';
import { type Operation, openApiDocument, openApiKey } from '../../../lib/api/openapi.ts';
import { strategicMergePatch } from '../../../lib/api/patch.ts';
import { groupPath, resources } from '../../../lib/api/resources.ts';
import { checkSchema, fieldsOf } from '../../../lib/api/schema.ts';

// biome-ignore lint/suspicious/noExplicitAny: a document is read as JSON
type Any = any;

/** The routes of a group as the server has them, reduced to what the document needs. */
function operationsOf(apiVersion: string): Operation[] {
  return Object.values(resources)
    .filter((info) => info.apiVersion === apiVersion)
    .flatMap((info) => {
      const all = `${groupPath(apiVersion)}${info.namespaced ? '/namespaces/{namespace}' : ''}/${info.resource}`;
      const one = `${all}/{name}`;
      const plain = { list: all, create: all, deletecollection: all };
      const named = { get: one, update: one, patch: one, delete: one };
      const routes = Object.entries({ ...plain, ...named }) as [Operation['verb'], string][];
      return routes.map(([verb, path]) => ({ verb, path, info }));
    });
}

const documents = new Map(
  [...new Set(Object.values(resources).map(({ apiVersion }) => apiVersion))].map((apiVersion) => [
    apiVersion,
    JSON.parse(JSON.stringify(openApiDocument(operationsOf(apiVersion), '0.0.0'))) as Any,
  ]),
);

function refsIn(value: Any): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === '$ref' && typeof inner === 'string' ? [inner] : refsIn(inner),
  );
}

const componentOf = (document: Any, kind: string): Any =>
  Object.values<Any>(document.components.schemas).find((schema) =>
    schema['x-kubernetes-group-version-kind']?.some((gvk: Any) => gvk.kind === kind),
  );
const resolve = (document: Any, ref: string): Any =>
  document.components.schemas[ref.replace('#/components/schemas/', '')];

for (const [apiVersion, document] of documents) {
  t.test(apiVersion, async (t) => {
    t.match(document, { openapi: '3.0.0', info: { version: '0.0.0' } });
    const refs = [...new Set(refsIn(document))];
    t.ok(refs.length > 5);
    t.strictSame(
      refs.filter((ref) => resolve(document, ref) === undefined),
      [],
      'every reference leads somewhere',
    );
    const unused = Object.keys(document.components.schemas).filter(
      (name) => !refs.includes(`#/components/schemas/${name}`),
    );
    t.strictSame(unused, [], 'and nothing is there that nobody refers to');
    for (const info of Object.values(resources).filter((one) => one.apiVersion === apiVersion)) {
      const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
      const gvk = { group, version, kind: info.kind };
      const isOwn = new RegExp(`/v1(/namespaces/\\{namespace\\})?/${info.resource}(/\\{name\\}|$)`);
      const own = Object.entries<Any>(document.paths).filter(([path]) => isOwn.test(path));
      // kubectl takes the first PATCH of the kind it comes upon, in no order.
      const patches = own.map(([, path]) => path.patch).filter(Boolean);
      t.ok(patches.length > 0);
      for (const patch of patches) {
        t.strictSame(patch['x-kubernetes-group-version-kind'], gvk);
        t.ok(patch.parameters.some((one: Any) => one.name === 'fieldValidation' && one.in === 'query'));
        t.ok(patch.parameters.some((one: Any) => one.name === 'dryRun' && one.in === 'query'));
        t.ok(patch.requestBody.content['application/strategic-merge-patch+json']);
      }
      for (const [path, operations] of own)
        t.strictSame(
          (operations.parameters as Any[]).map(({ name }) => `{${name}}`),
          path.match(/\{\w+\}/g) ?? [],
          `${path}: its parameters`,
        );
      const schema = componentOf(document, info.kind);
      t.strictSame(schema['x-kubernetes-group-version-kind'], [gvk], `${info.kind} as explain finds it`);
      t.strictSame(Object.keys(schema.properties), Object.keys(fieldsOf(info.kind)!));
      t.notOk(schema.required?.includes('kind'), 'the path tells the kind');
      t.ok(componentOf(document, `${info.kind}List`).properties.items.items.$ref);
    }
  });
}

t.equal(openApiKey('v1'), 'api/v1');
t.equal(openApiKey('coordination.k8s.io/v1'), 'apis/coordination.k8s.io/v1');

const v1 = documents.get('v1');
const podSpec = v1.components.schemas['io.k8s.api.core.v1.PodSpec'];
const container = v1.components.schemas['io.k8s.api.core.v1.Container'];

t.test('fields', async (t) => {
  t.strictSame(container.required, ['name']);
  t.strictSame(container.properties.imagePullPolicy, {
    type: 'string',
    enum: ['Always', 'IfNotPresent', 'Never'],
  });
  t.strictSame(container.properties.command, { type: 'array', items: { type: 'string' } });
  t.strictSame(
    v1.components.schemas['io.k8s.api.core.v1.ResourceRequirements'].properties.limits.additionalProperties,
    { $ref: '#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity' },
  );
  t.match(podSpec.properties.runtimeClassName.description, /^Refused by podwire/);
  t.equal(podSpec.properties.hostUsers.description, undefined);
  t.match(podSpec.properties.serviceAccountName.description, /^Accepted, and nothing comes of it: /);
  t.match(podSpec.properties.os, { description: /linux/, allOf: [{ $ref: /PodOS$/ }] });
  t.equal(podSpec.properties.containers.description, undefined, 'what is done needs no word');
});

t.test('what kubectl believes of a patch is what the server does', async (t) => {
  for (const [name, schema] of Object.entries<Any>(v1.components.schemas)) {
    for (const [field, property] of Object.entries<Any>(schema.properties ?? {})) {
      if (property.type !== 'array' || name.endsWith('List')) continue;
      const key: string | undefined = property['x-kubernetes-patch-merge-key'];
      const strategy: string | undefined = property['x-kubernetes-patch-strategy'];
      const { items } = property;
      if (key === undefined) {
        const isText = items.$ref === undefined;
        const [one, two] = isText ? ['a', 'b'] : [{ name: 'a' }, { name: 'b' }];
        const patched = strategicMergePatch({ [field]: [one] }, { [field]: [two] });
        t.strictSame(patched, { [field]: strategy ? [one, two] : [two] }, `${name}.${field}`);
        continue;
      }
      const type = resolve(v1, items.$ref).properties[key].type;
      t.ok(['string', 'integer'].includes(type), `${name}.${field}: ${key} is a field of its items`);
      const [one, two] = type === 'string' ? ['a', 'b'] : [1, 2];
      t.strictSame(
        strategicMergePatch({ [field]: [{ [key]: one }] }, { [field]: [{ [key]: two }] }),
        { [field]: [{ [key]: one }, { [key]: two }] },
        `${name}.${field} merges`,
      );
      t.ok(strategy?.split(',').includes('merge'));
    }
  }
  t.equal(podSpec.properties.containers['x-kubernetes-patch-merge-key'], 'name');
  t.equal(podSpec.properties.volumes['x-kubernetes-patch-strategy'], 'merge,retainKeys');
  t.equal(container.properties.ports['x-kubernetes-patch-merge-key'], 'containerPort');
  t.equal(podSpec.properties.tolerations['x-kubernetes-patch-strategy'], undefined);
});

t.test('an unknown field is named and taken out', async (t) => {
  const pod = { metadata: { name: 'a', foo: 1 }, spec: { containers: [{ name: 'a', imge: 'x' }] } };
  const faults = checkSchema('Pod', { apiVersion: 'v1', kind: 'Pod', ...pod });
  t.strictSame(faults.map(({ field }) => field).sort(), ['metadata.foo', 'spec.containers[0].imge']);
  t.strictSame(pod, { metadata: { name: 'a' }, spec: { containers: [{ name: 'a' }] } });
});
