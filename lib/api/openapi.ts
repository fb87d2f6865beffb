// The OpenAPI v3 document of a group version, made of the routes that are served and the schema that validates.
// Assumes lib/api/schema.ts and the tables of supported.ts and patch.ts. Some milliseconds a document, 200 KB for v1: ask
// once. Shapes: OpenAPI 3.0 with Kubernetes' extensions, as kubectl reads them (apply, explain, fieldValidation). Pure.
import { listMerge } from './patch.ts';
import { groupPath, type ResourceInfo } from './resources.ts';
import { fieldsOf, groupOfType, type SchemaField } from './schema.ts';
import { fieldState } from './supported.ts';

export type ApiVerb = 'get' | 'list' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

/** A route of the API: what a method does at a path. */
export interface Operation {
  /** `/api/v1/namespaces/{namespace}/pods/{name}` */
  readonly path: string;
  readonly verb: ApiVerb;
  readonly info: ResourceInfo;
}

export const patchContentTypes = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
] as const;

type Json = Readonly<Record<string, unknown>>;

const methods: Readonly<Record<ApiVerb, string>> = {
  get: 'get',
  list: 'get',
  create: 'post',
  update: 'put',
  patch: 'patch',
  delete: 'delete',
  deletecollection: 'delete',
};

const query = (name: string, type: string, description: string): Json => ({
  name,
  in: 'query',
  description,
  schema: { type },
});
const dryRun = query('dryRun', 'string', 'All: everything is checked and filled in, and nothing is written.');
const fieldValidation = query(
  'fieldValidation',
  'string',
  'What becomes of unknown and duplicate fields. Strict (unless told): the request is refused; Warn: they are left out, with a warning; Ignore: they are left out. Fields that are known but not supported are always refused.',
);
const selectors = [
  query('labelSelector', 'string', 'Only objects with such labels.'),
  query('fieldSelector', 'string', 'Only objects with such fields.'),
];
const parameters: Readonly<Record<ApiVerb, readonly Json[]>> = {
  get: [],
  list: [
    ...selectors,
    query('watch', 'boolean', 'Changes as they come instead of a list.'),
    query('resourceVersion', 'string', 'A watch begins after this one.'),
    query('timeoutSeconds', 'integer', 'How long a watch lasts.'),
    query('allowWatchBookmarks', 'boolean', 'Also tell now and then how far a watch has come.'),
    query('sendInitialEvents', 'boolean', 'A watch begins with what there is.'),
  ],
  create: [dryRun, fieldValidation],
  update: [dryRun, fieldValidation],
  patch: [dryRun, fieldValidation],
  delete: [dryRun, query('gracePeriodSeconds', 'integer', 'How long the object may take to end.')],
  deletecollection: selectors,
};

const pathParameters: Readonly<Record<string, string>> = {
  namespace: 'the namespace of the object',
  name: 'the name of the object',
};

/** @param version podwire's own */
export function openApiDocument(operations: readonly Operation[], version: string): Json {
  const paths: Record<string, Record<string, unknown>> = {};
  const schemas: Record<string, Json> = {};
  const add = (name: string): void => addSchema(schemas, name, kindsOf(operations));
  for (const operation of operations) {
    const { path, verb } = operation;
    paths[path] ??= { parameters: parametersOf(path) };
    paths[path][methods[verb]] = describe(operation);
  }
  for (const { kind, apiVersion } of new Set(operations.map(({ info }) => info))) {
    add(kind);
    schemas[refName(`${kind}List`, groupOfType(kind))] = listSchema(kind, apiVersion);
  }
  add('DeleteOptions');
  schemas[refName('ListMeta', 'meta')] = {
    type: 'object',
    properties: { resourceVersion: { type: 'string' } },
  };
  return { openapi: '3.0.0', info: { title: 'podwire', version }, paths, components: { schemas } };
}

const kindsOf = (operations: readonly Operation[]): ReadonlyMap<string, string> =>
  new Map(operations.map(({ info }) => [info.kind, info.apiVersion]));

const parametersOf = (path: string): Json[] =>
  [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    description: pathParameters[name],
    schema: { type: 'string' },
  }));

const gvkOf = (apiVersion: string, kind: string): Json => {
  const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
  return { group, kind, version };
};

function describe({ verb, info }: Operation): Json {
  const { kind, apiVersion } = info;
  const isList = verb === 'list' || verb === 'deletecollection';
  const body = bodyOf(verb, kind);
  return {
    'x-kubernetes-action': verb === 'create' ? 'post' : verb === 'update' ? 'put' : verb,
    'x-kubernetes-group-version-kind': gvkOf(apiVersion, kind),
    ...(parameters[verb].length > 0 ? { parameters: parameters[verb] } : {}),
    ...(body ? { requestBody: body } : {}),
    responses: {
      [verb === 'create' ? '201' : '200']: {
        description: 'OK',
        content: content(['application/json'], isList ? listRef(kind) : refTo(kind)),
      },
    },
  };
}

function bodyOf(verb: ApiVerb, kind: string): Json | undefined {
  if (verb === 'create' || verb === 'update')
    return { required: true, content: content(['application/json', 'application/yaml'], refTo(kind)) };
  if (verb === 'patch') return { required: true, content: content(patchContentTypes, {}) };
  if (verb === 'delete' || verb === 'deletecollection')
    return { content: content(['application/json'], refTo('DeleteOptions')) };
  return undefined;
}

const content = (types: readonly string[], schema: Json): Json =>
  Object.fromEntries(types.map((type) => [type, { schema }]));

/** Where Kubernetes' own Go code and its OpenAPI keep the types of a group: all of ours have one version, v1. */
function packageOf(group: string): { readonly name: string; readonly source: string } {
  if (group === 'meta')
    return { name: 'io.k8s.apimachinery.pkg.apis.meta.v1', source: 'k8s.io/apimachinery/pkg/apis/meta/v1' };
  const short = group === '' ? 'core' : group.split('.')[0];
  return { name: `io.k8s.api.${short}.v1`, source: `k8s.io/api/${short}/v1` };
}

/** Types that are not objects of fields. Go's text form of each; see schema.ts for what is checked. */
const scalars: Readonly<Record<string, { readonly name: string; readonly schema: Json }>> = {
  Quantity: {
    name: 'io.k8s.apimachinery.pkg.api.resource.Quantity',
    schema: {
      description: 'An amount, such as 100m, 0.5 or 64Mi.',
      oneOf: [{ type: 'string' }, { type: 'number' }],
    },
  },
  IntOrString: {
    name: 'io.k8s.apimachinery.pkg.util.intstr.IntOrString',
    schema: {
      description: 'A number or a name.',
      format: 'int-or-string',
      oneOf: [{ type: 'integer' }, { type: 'string' }],
    },
  },
  Time: {
    name: 'io.k8s.apimachinery.pkg.apis.meta.v1.Time',
    schema: { description: 'A time like 2026-01-31T08:00:00Z.', type: 'string', format: 'date-time' },
  },
  MicroTime: {
    name: 'io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime',
    schema: { description: 'A time like 2026-01-31T08:00:00.000000Z.', type: 'string', format: 'date-time' },
  },
};

const refName = (type: string, group: string): string => `${packageOf(group).name}.${type}`;
const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });
const refTo = (type: string): Json => ref(scalars[type]?.name ?? refName(type, groupOfType(type)));
const listRef = (kind: string): Json => ref(refName(`${kind}List`, groupOfType(kind)));

function listSchema(kind: string, apiVersion: string): Json {
  return {
    type: 'object',
    required: ['items'],
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: ref(refName('ListMeta', 'meta')),
      items: { type: 'array', items: refTo(kind) },
    },
    'x-kubernetes-group-version-kind': [gvkOf(apiVersion, `${kind}List`)],
  };
}

/** Adds a type and all that its fields reach. */
function addSchema(schemas: Record<string, Json>, type: string, kinds: ReadonlyMap<string, string>): void {
  const scalar = scalars[type];
  if (scalar) {
    schemas[scalar.name] = scalar.schema;
    return;
  }
  const fields = fieldsOf(type);
  const group = groupOfType(type);
  const name = refName(type, group);
  if (!fields || schemas[name]) return;
  const apiVersion = kinds.get(type);
  // What kind of object it is the path tells, too: no body must.
  const isTold = (field: string): boolean =>
    apiVersion !== undefined && (field === 'apiVersion' || field === 'kind');
  const required = Object.keys(fields).filter((field) => fields[field]!.required && !isTold(field));
  schemas[name] = {
    description: `What each field means: https://pkg.go.dev/${packageOf(group).source}#${type}`,
    type: 'object',
    ...(required.length > 0 ? { required } : {}),
    properties: Object.fromEntries(
      Object.entries(fields).map(([field, of]) => [
        field,
        isTold(field) ? { type: 'string' } : fieldSchema(type, field, of),
      ]),
    ),
    ...(apiVersion === undefined ? {} : { 'x-kubernetes-group-version-kind': [gvkOf(apiVersion, type)] }),
  };
  for (const field of Object.values(fields)) addSchema(schemas, innermost(field.type), kinds);
}

const innermost = (type: string): string => type.replace(/^(\[\]|\{\})+/, '');

function fieldSchema(type: string, field: string, of: SchemaField): Json {
  const description = remarkOn(type, field);
  const merge = mergeOf(field, of);
  const schema = typeSchema(of.type, of.enum);
  const isRef = schema.$ref !== undefined;
  return {
    ...(description === '' ? {} : { description }),
    // Beside a $ref nothing else counts.
    ...(isRef && description !== '' ? { allOf: [schema] } : schema),
    ...(merge ? patchMarks(field, merge) : {}),
  };
}

/** Only lists of objects have keys to merge by. */
function mergeOf(field: string, { type }: SchemaField): ReturnType<typeof listMerge> {
  const merge = type.startsWith('[]') ? listMerge(field) : undefined;
  return merge?.key !== undefined && !fieldsOf(type.slice(2)) ? undefined : merge;
}

/** kubectl apply makes its patches by these; `retainKeys`: of a volume's sources only the new one is left. */
const patchMarks = (field: string, { key }: { readonly key?: string }): Json => ({
  ...(key === undefined ? {} : { 'x-kubernetes-patch-merge-key': key }),
  'x-kubernetes-patch-strategy': field === 'volumes' ? 'merge,retainKeys' : 'merge',
});

function typeSchema(type: string, values: readonly string[] | undefined): Json {
  if (type.startsWith('[]')) return { type: 'array', items: typeSchema(type.slice(2), values) };
  if (type.startsWith('{}'))
    return { type: 'object', additionalProperties: typeSchema(type.slice(2), values) };
  if (type === 'any') return { type: 'object' };
  if (fieldsOf(type) || scalars[type]) return refTo(type);
  return { type, ...(values ? { enum: values } : {}) };
}

/** What podwire does with a field, where there is more to say than that it is done. */
function remarkOn(type: string, field: string): string {
  const { state, remark } = fieldState(type, field);
  if (state === 'refused') return `Refused by podwire${remark === '' ? '' : ` (${remark})`}.`;
  if (state === 'without effect') return `Accepted, and nothing comes of it: ${remark}.`;
  return remark === '' ? '' : `In podwire: ${remark}.`;
}

/** `api/v1`, `apis/GROUP/VERSION`: what the index calls a group version. */
export const openApiKey = (apiVersion: string): string => groupPath(apiVersion).slice(1);
