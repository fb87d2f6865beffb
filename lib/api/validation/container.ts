// Kubernetes' rules for one container: ports, environment, mounts, resources, security.
// Assumes the schema check and defaulting have run. Collects every fault; O(fields); pure.
// Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (v1.34)
import {
  duplicate,
  type FieldError,
  forbidden,
  invalid,
  notFound,
  notSupported,
  required,
} from '../field-errors.ts';
import { dnsLabelFault, portNameFault } from '../names.ts';
import { compareQuantities, hugePageBytes, isHugePages, quantityValue } from '../quantity.ts';
import {
  allContainers,
  ephemeralContainers,
  type PlacedContainer,
  placedContainers,
} from '../pod-containers.ts';
import type { Container, PodSpec } from '../types.ts';
import { pushFault } from './validation.ts';
import { envErrors, nulFault } from './env.ts';
import { lifecycleErrors } from './lifecycle.ts';
import { seccompErrors } from './security.ts';
import { mountErrors } from './volumes.ts';

export function validateContainers(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.containers.length === 0) errors.push(required('spec.containers'));
  const names = new Set<string>();
  const volumes = new Set((spec.volumes ?? []).map(({ name }) => name));
  for (const placed of placedContainers(spec)) {
    const { container, path } = placed;
    errors.push(...nameErrors(container.name, names, path));
    errors.push(...imageErrors(container, path));
    errors.push(...portErrors(container, spec, path));
    errors.push(...envErrors(container, path));
    errors.push(...mountErrors(container, volumes, path));
    errors.push(...resourceErrors(container, path), ...resizeErrors(placed, spec));
    errors.push(...securityErrors(container, `${path}.securityContext`));
    errors.push(...lifecycleErrors(placed, spec));
  }
  errors.push(...hostPortConflicts(spec), ...ephemeralErrors(spec, names, volumes));
  return errors;
}

function ephemeralErrors(spec: PodSpec, names: Set<string>, volumes: ReadonlySet<string>): FieldError[] {
  const targets = new Set(allContainers(spec).map(({ name }) => name));
  return ephemeralContainers(spec).flatMap((container, at) => {
    const path = `spec.ephemeralContainers[${at}]`;
    const target = container.targetContainerName;
    const errors = [
      ...nameErrors(container.name, names, path),
      ...imageErrors(container, path),
      ...envErrors(container, path),
      ...mountErrors(container, volumes, path),
      ...securityErrors(container, `${path}.securityContext`),
    ];
    if (target && !targets.has(target)) errors.push(notFound(`${path}.targetContainerName`, target));
    container.volumeMounts?.forEach((mount, index) => {
      for (const field of ['subPath', 'subPathExpr'] as const)
        if (mount[field])
          errors.push(
            forbidden(`${path}.volumeMounts[${index}].${field}`, 'cannot be set for an Ephemeral Container'),
          );
    });
    return errors;
  });
}

function nameErrors(name: string, seen: Set<string>, path: string): FieldError[] {
  if (!name) return [required(`${path}.name`)];
  const fault = dnsLabelFault(name);
  if (fault) return [invalid(`${path}.name`, name, fault)];
  if (seen.has(name)) return [duplicate(`${path}.name`, name)];
  seen.add(name);
  return [];
}

function imageErrors(container: Container, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { image = '' } = container;
  if (image === '') errors.push(required(`${path}.image`));
  else if (image.trim() !== image)
    errors.push(invalid(`${path}.image`, image, 'must not have leading or trailing whitespace'));
  else if (/[\s\0]/.test(image) || image.startsWith('-'))
    errors.push(
      invalid(`${path}.image`, image, 'must be an image reference like docker.io/library/nginx:1.27'),
    );
  const words: [string, string][] = [['workingDir', container.workingDir ?? '']];
  for (const [at, word] of (container.command ?? []).entries()) words.push([`command[${at}]`, word]);
  for (const [at, word] of (container.args ?? []).entries()) words.push([`args[${at}]`, word]);
  for (const [field, word] of words) pushFault(errors, `${path}.${field}`, word, nulFault(word));
  return errors;
}

const portFault = (port: number): string | undefined =>
  port >= 1 && port <= 65535 ? undefined : 'must be between 1 and 65535, inclusive';

function portErrors(container: Container, spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  container.ports?.forEach((port, at) => {
    const where = `${path}.ports[${at}]`;
    if (port.name) {
      pushFault(errors, `${where}.name`, port.name, portNameFault(port.name));
      if (names.has(port.name)) errors.push(duplicate(`${where}.name`, port.name));
      names.add(port.name);
    }
    if (port.containerPort === 0) errors.push(required(`${where}.containerPort`));
    else pushFault(errors, `${where}.containerPort`, port.containerPort, portFault(port.containerPort));
    if (!port.hostPort) return;
    pushFault(errors, `${where}.hostPort`, port.hostPort, portFault(port.hostPort));
    if (spec.hostNetwork && port.hostPort !== port.containerPort)
      errors.push(
        invalid(
          `${where}.containerPort`,
          port.containerPort,
          'must match `hostPort` when `hostNetwork` is true',
        ),
      );
  });
  return errors;
}

function hostPortConflicts(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  const taken = new Set<string>();
  // An init container's port is free again when the others begin.
  for (const { container, path } of placedContainers(spec).filter(({ kind }) => kind !== 'init'))
    container.ports?.forEach((port, index) => {
      if (!port.hostPort) return;
      const key = `${port.protocol ?? 'TCP'}/${port.hostIP ?? ''}/${port.hostPort}`;
      if (taken.has(key)) errors.push(duplicate(`${path}.ports[${index}].hostPort`, key));
      taken.add(key);
    });
  return errors;
}

/** What the kernel would refuse, or no program could live with, is better said here than by a container that fails. */
function amountFault(name: string, amount: string | number): string | undefined {
  if (compareQuantities(amount, 0) < 0) return 'must be greater than or equal to 0';
  if (compareQuantities(amount, 0) === 0) return undefined;
  if (name === 'memory' && compareQuantities(amount, '1Mi') < 0)
    return 'must be 1Mi or more: no program starts in less memory';
  if (isHugePages(name) && quantityValue(amount) % hugePageBytes(name) !== 0)
    return `must be a multiple of one page of ${name.slice('hugepages-'.length)}`;
  if (name === 'cpu' && compareQuantities(amount, 1_000_000) > 0) return 'must be 1000000 CPUs or less';
  return undefined;
}

function resourceErrors(container: Container, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { limits = {}, requests = {} } = container.resources ?? {};
  for (const [kind, list] of [
    ['limits', limits],
    ['requests', requests],
  ] as const) {
    for (const [name, amount] of Object.entries(list)) {
      if (kind === 'requests' && amount === limits[name]) continue; // a default taken from the limit: told there
      const fault = amountFault(name, amount);
      if (fault) errors.push(invalid(`${path}.resources.${kind}[${name}]`, amount, fault));
    }
  }
  for (const [name, amount] of Object.entries(requests)) {
    const limit = isHugePages(name) ? undefined : limits[name];
    if (limit !== undefined && compareQuantities(amount, limit) > 0)
      errors.push(
        invalid(
          `${path}.resources.requests`,
          amount,
          `must be less than or equal to ${name} limit of ${limit}`,
        ),
      );
  }
  errors.push(...hugePageErrors({ limits, requests }, `${path}.resources`));
  return errors;
}

function resizeErrors({ container, kind, path }: PlacedContainer, { restartPolicy }: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  const seen = new Set<string>();
  const policies = container.resizePolicy ?? [];
  if (kind === 'init' && policies.length > 0)
    errors.push(
      invalid(`${path}.resizePolicy`, policies, 'must not be set for init containers that are not sidecars'),
    );
  policies.forEach((policy, at) => {
    const where = `${path}.resizePolicy[${at}]`;
    const { resourceName, restartPolicy: mode } = policy;
    if (seen.has(resourceName)) errors.push(duplicate(`${where}.resourceName`, resourceName));
    seen.add(resourceName);
    if (!['cpu', 'memory'].includes(resourceName))
      errors.push(notSupported(`${where}.resourceName`, resourceName, ['cpu', 'memory']));
    if (!['NotRequired', 'RestartContainer'].includes(mode))
      errors.push(notSupported(`${where}.restartPolicy`, mode, ['NotRequired', 'RestartContainer']));
    else if (mode === 'RestartContainer' && restartPolicy === 'Never' && kind !== 'sidecar')
      errors.push(
        invalid(`${where}.restartPolicy`, mode, "must be 'NotRequired' when `restartPolicy` is 'Never'"),
      );
  });
  return errors;
}

/** Huge pages are never lent: what is asked for is the limit. And nobody lives on them alone. */
function hugePageErrors(
  { limits, requests }: Record<'limits' | 'requests', Amounts>,
  path: string,
): FieldError[] {
  const names = new Set([...Object.keys(limits), ...Object.keys(requests)].filter(isHugePages));
  if (names.size === 0) return [];
  const errors: FieldError[] = [];
  for (const name of names) {
    const limit = limits[name];
    const request = requests[name];
    if (limit === undefined)
      errors.push(required(`${path}.limits[${name}]`, 'must be set: huge pages cannot be overcommitted'));
    else if (request !== undefined && compareQuantities(request, limit) !== 0)
      errors.push(
        invalid(`${path}.requests[${name}]`, request, `must be equal to ${name} limit of ${limit}`),
      );
  }
  if (!requests.cpu && !requests.memory && !limits.cpu && !limits.memory)
    errors.push(forbidden(path, 'HugePages require cpu or memory'));
  return errors;
}

type Amounts = Readonly<Record<string, string | number>>;

const maxId = 2_147_483_647;
export const idFault = (id: number | undefined): string | undefined =>
  id === undefined || (id >= 0 && id <= maxId) ? undefined : `must be between 0 and ${maxId}, inclusive`;

function securityErrors(container: Container, path: string): FieldError[] {
  const context = container.securityContext;
  if (context === undefined) return [];
  const errors: FieldError[] = [];
  pushFault(errors, `${path}.runAsUser`, context.runAsUser, idFault(context.runAsUser));
  pushFault(errors, `${path}.runAsGroup`, context.runAsGroup, idFault(context.runAsGroup));
  errors.push(...seccompErrors(context.seccompProfile, `${path}.seccompProfile`));
  const add = context.capabilities?.add ?? [];
  for (const [list, names] of [
    ['add', add],
    ['drop', context.capabilities?.drop ?? []],
  ] as const) {
    names.forEach((name, at) => {
      // Runtimes take `all` for ALL, and so many a manifest says it.
      if (!/^[A-Z][A-Z0-9_]*$/i.test(name))
        errors.push(
          invalid(`${path}.capabilities.${list}[${at}]`, name, 'must be a capability like NET_ADMIN, or ALL'),
        );
    });
  }
  if (context.allowPrivilegeEscalation !== false) return errors;
  if (context.privileged)
    errors.push(
      invalid(path, context, 'cannot set `allowPrivilegeEscalation` to false and `privileged` to true'),
    );
  if (add.some((name) => name === 'SYS_ADMIN' || name === 'CAP_SYS_ADMIN'))
    errors.push(
      invalid(
        path,
        context,
        'cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN',
      ),
    );
  return errors;
}
