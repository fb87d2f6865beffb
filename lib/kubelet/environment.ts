// A container's environment: literals, references, fields, resources, keys of ConfigMaps and Secrets. Pure, but for
// the reading of the objects. Assumes a defaulted, validated Pod; errors are Kubernetes' words and hold no value.
// O(variables). Source: kubelet's makeEnvironmentVariables.
import { findContainer } from '../api/pod-containers.ts';
import type { ConfigMap, Container, Pod, Secret } from '../api/types.ts';
import { PodwireError } from '../exec/errors.ts';
import { expand } from './expansion.ts';
import { fieldValue, type NodeAmounts, type PodFacts, resourceValue } from './field-refs.ts';
import type { DataSource } from './references.ts';

/** CreateContainerConfigError of kubelet: the spec cannot be turned into a container. */
export class ContainerConfigError extends PodwireError {
  constructor(message: string) {
    super('CreateContainerConfigError', message);
  }
}

/** The objects that an environment speaks of, by name; undefined: there is none. */
export interface EnvData {
  readonly configMaps: ReadonlyMap<string, ConfigMap | undefined>;
  readonly secrets: ReadonlyMap<string, Secret | undefined>;
}

export interface EnvFacts extends PodFacts {
  readonly node: NodeAmounts;
}

/** Whether the environment asks for the Pod's address, so that the container cannot be created before it is known. */
export function needsPodIP(container: Container): boolean {
  return (container.env ?? []).some((env) => env.valueFrom?.fieldRef?.fieldPath?.startsWith('status.podIP'));
}

/** Reads what the environment speaks of; nothing for most containers. */
export async function readEnvData(pod: Pod, container: Container, source: DataSource): Promise<EnvData> {
  const { namespace } = pod.metadata;
  const configMaps = new Map<string, ConfigMap | undefined>();
  const secrets = new Map<string, Secret | undefined>();
  const { env = [], envFrom = [] } = container;
  const wanted = [
    ...envFrom.map((from) => [from.configMapRef?.name, from.secretRef?.name]),
    ...env.map(({ valueFrom }) => [valueFrom?.configMapKeyRef?.name, valueFrom?.secretKeyRef?.name]),
  ];
  for (const [configMap, secret] of wanted) {
    if (configMap && !configMaps.has(configMap))
      configMaps.set(configMap, await source.configMap(namespace, configMap));
    if (secret && !secrets.has(secret)) secrets.set(secret, await source.secret(namespace, secret));
  }
  return { configMaps, secrets };
}

/**
 * envFrom first, then env in the order of the spec; a later variable replaces an earlier one of its name, and its value
 * may refer to earlier ones. @throws ContainerConfigError
 */
export function environment(
  pod: Pod,
  container: Container,
  facts: EnvFacts,
  data: EnvData,
): Map<string, string> {
  const vars = new Map<string, string>();
  for (const from of container.envFrom ?? []) {
    const prefix = from.prefix ?? '';
    for (const [key, value] of wholeObject(from, data)) vars.set(`${prefix}${key}`, value);
  }
  for (const env of container.env ?? []) {
    const value = env.valueFrom
      ? referencedValue(pod, container, { from: env.valueFrom, facts, data })
      : expand(env.value ?? '', vars);
    if (value !== undefined) vars.set(env.name, value);
  }
  return vars;
}

type EnvFrom = NonNullable<Container['envFrom']>[number];
type ValueFrom = NonNullable<NonNullable<Container['env']>[number]['valueFrom']>;

const decoded = (value: string): string => Buffer.from(value, 'base64').toString();

function wholeObject({ configMapRef, secretRef }: EnvFrom, data: EnvData): [string, string][] {
  if (configMapRef) {
    const object = data.configMaps.get(configMapRef.name ?? '');
    if (object) return Object.entries(object.data ?? {});
    if (!configMapRef.optional) throw new ContainerConfigError(`configmap "${configMapRef.name}" not found`);
  }
  if (secretRef) {
    const object = data.secrets.get(secretRef.name ?? '');
    if (object) return Object.entries(object.data ?? {}).map(([key, value]) => [key, decoded(value)]);
    if (!secretRef.optional) throw new ContainerConfigError(`secret "${secretRef.name}" not found`);
  }
  return [];
}

/** Undefined: optional, and not there. */
function referencedValue(
  pod: Pod,
  container: Container,
  { from, facts, data }: { from: ValueFrom; facts: EnvFacts; data: EnvData },
): string | undefined {
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef } = from;
  try {
    if (fieldRef) return fieldValue(pod, facts, fieldRef.fieldPath);
    if (resourceFieldRef) {
      const { containerName } = resourceFieldRef;
      const about = containerName ? findContainer(pod.spec, containerName) : container;
      if (!about) throw new RangeError(`container ${containerName} not found`);
      return resourceValue(about, resourceFieldRef, facts.node);
    }
  } catch (error) {
    if (error instanceof RangeError) throw new ContainerConfigError(error.message);
    throw error;
  }
  const { namespace } = pod.metadata;
  if (configMapKeyRef) {
    const { name = '', key, optional } = configMapKeyRef;
    const object = data.configMaps.get(name);
    const value = object?.data?.[key];
    if (value !== undefined || optional) return value;
    const missing = object
      ? `couldn't find key ${key} in ConfigMap ${namespace}/${name}`
      : `configmap "${name}" not found`;
    throw new ContainerConfigError(missing);
  }
  if (secretKeyRef) {
    const { name = '', key, optional } = secretKeyRef;
    const object = data.secrets.get(name);
    const value = object?.data?.[key];
    if (value !== undefined) return decoded(value);
    if (optional) return undefined;
    const missing = object
      ? `couldn't find key ${key} in Secret ${namespace}/${name}`
      : `secret "${name}" not found`;
    throw new ContainerConfigError(missing);
  }
  throw new ContainerConfigError('valueFrom names no source that is supported');
}
