// Kubernetes' rules for a Pod: volumes, names, DNS, security, tolerations; and what an update may change.
// Assumes the schema check and defaulting have run. Collects every fault; O(fields); pure.
// Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (v1.34)
import { isIP } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { duplicate, type FieldError, forbidden, invalid, required } from '../field-errors.ts';
import { dnsLabelFault, dnsSubdomainFault, qualifiedNameFault, sysctlNameFault } from '../names.ts';
import type { Container, PodSpec } from '../types.ts';
import { pushFault, validateLabels } from './validation.ts';
import { idFault, validateContainers } from './container.ts';
import { readinessGateErrors } from './lifecycle.ts';
import { hostUsersErrors, seccompErrors } from './security.ts';
import { volumeErrors } from './volumes.ts';

export function validatePodSpec(spec: PodSpec): FieldError[] {
  return [
    ...validateContainers(spec),
    ...volumeErrors(spec),
    ...scalarErrors(spec),
    ...dnsErrors(spec),
    ...hostAliasErrors(spec),
    ...securityErrors(spec),
    ...hostUsersErrors(spec),
    ...tolerationErrors(spec),
    ...readinessGateErrors(spec),
  ];
}

function scalarErrors(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  const deadline = spec.activeDeadlineSeconds;
  if (deadline !== undefined && (deadline < 1 || deadline > 2_147_483_647))
    errors.push(
      invalid('spec.activeDeadlineSeconds', deadline, 'must be between 1 and 2147483647, inclusive'),
    );
  const grace = spec.terminationGracePeriodSeconds ?? 30;
  if (grace < 0)
    errors.push(invalid('spec.terminationGracePeriodSeconds', grace, 'must be greater than or equal to 0'));
  if (spec.hostname) pushFault(errors, 'spec.hostname', spec.hostname, dnsLabelFault(spec.hostname));
  if (spec.subdomain) pushFault(errors, 'spec.subdomain', spec.subdomain, dnsLabelFault(spec.subdomain));
  for (const field of ['nodeName', 'serviceAccountName', 'priorityClassName'] as const) {
    const name = spec[field];
    if (name) pushFault(errors, `spec.${field}`, name, dnsSubdomainFault(name));
  }
  if (spec.schedulerName)
    pushFault(errors, 'spec.schedulerName', spec.schedulerName, qualifiedNameFault(spec.schedulerName));
  errors.push(...validateLabels(spec.nodeSelector ?? {}, 'spec.nodeSelector'));
  if (spec.shareProcessNamespace && spec.hostPID)
    errors.push(
      invalid('spec.shareProcessNamespace', true, 'ShareProcessNamespace and HostPID cannot both be enabled'),
    );
  return errors;
}

function dnsErrors(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  const path = 'spec.dnsConfig';
  const { dnsConfig: config } = spec;
  if (spec.dnsPolicy === 'None') {
    if (!config) return [required(path, 'must provide `dnsConfig` when `dnsPolicy` is None')];
    if (!config.nameservers?.length)
      errors.push(
        required(`${path}.nameservers`, 'must provide at least one DNS nameserver when `dnsPolicy` is None'),
      );
  }
  const { nameservers = [], searches = [], options = [] } = config ?? {};
  if (nameservers.length > 3)
    errors.push(invalid(`${path}.nameservers`, nameservers, 'must not have more than 3 nameservers'));
  nameservers.forEach((address, at) => {
    pushFault(errors, `${path}.nameservers[${at}]`, address, ipFault(address));
  });
  if (searches.length > 32)
    errors.push(invalid(`${path}.searches`, searches, 'must not have more than 32 search paths'));
  if (searches.join(' ').length > 2048)
    errors.push(
      invalid(
        `${path}.searches`,
        searches,
        'must not have more than 2048 characters (including spaces) in the search list',
      ),
    );
  searches.forEach((search, at) => {
    if (search === '.') return;
    const plain = search.replace(/\.$/, '').replaceAll('_', 'u');
    pushFault(errors, `${path}.searches[${at}]`, search, dnsSubdomainFault(plain));
  });
  options.forEach((option, at) => {
    if (!option.name) errors.push(required(`${path}.options[${at}].name`, 'must not be empty'));
    else if (/\s/.test(option.name) || /\s/.test(option.value ?? ''))
      errors.push(invalid(`${path}.options[${at}]`, option, 'must not contain white space'));
  });
  return errors;
}

const ipFault = (address: string): string | undefined =>
  isIP(address) && !address.includes('%')
    ? undefined
    : 'must be a valid IP address (e.g. 10.9.8.7 or 2001:db8::ffff)';

function hostAliasErrors(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  spec.hostAliases?.forEach((alias, at) => {
    const path = `spec.hostAliases[${at}]`;
    pushFault(errors, `${path}.ip`, alias.ip, ipFault(alias.ip));
    alias.hostnames?.forEach((name, index) => {
      pushFault(errors, `${path}.hostnames[${index}]`, name, dnsSubdomainFault(name));
    });
  });
  return errors;
}

function securityErrors(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  const path = 'spec.securityContext';
  const {
    runAsUser,
    runAsGroup,
    fsGroup,
    supplementalGroups = [],
    sysctls = [],
    seccompProfile,
  } = spec.securityContext ?? {};
  pushFault(errors, `${path}.runAsUser`, runAsUser, idFault(runAsUser));
  pushFault(errors, `${path}.runAsGroup`, runAsGroup, idFault(runAsGroup));
  pushFault(errors, `${path}.fsGroup`, fsGroup, idFault(fsGroup));
  supplementalGroups.forEach((group, at) => {
    pushFault(errors, `${path}.supplementalGroups[${at}]`, group, idFault(group));
  });
  errors.push(...seccompErrors(seccompProfile, `${path}.seccompProfile`));
  const names = new Set<string>();
  sysctls.forEach(({ name }, at) => {
    const where = `${path}.sysctls[${at}].name`;
    if (!name) errors.push(required(where));
    else pushFault(errors, where, name, sysctlNameFault(name));
    const dotted = name.replaceAll('/', '.');
    if (names.has(dotted)) errors.push(duplicate(where, name));
    names.add(dotted);
    if (spec.hostNetwork && dotted.startsWith('net.'))
      errors.push(invalid(where, name, 'may not be specified when `hostNetwork` is true'));
    if (spec.hostIPC && /^(kernel\.(shm|msg|sem)|fs\.mqueue\.)/.test(dotted))
      errors.push(invalid(where, name, 'may not be specified when `hostIPC` is true'));
  });
  return errors;
}

function tolerationErrors(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  spec.tolerations?.forEach((toleration, at) => {
    const path = `spec.tolerations[${at}]`;
    const { key, operator = 'Equal', value, effect, tolerationSeconds } = toleration;
    if (key) pushFault(errors, `${path}.key`, key, qualifiedNameFault(key));
    else if (operator !== 'Exists')
      errors.push(
        invalid(
          `${path}.operator`,
          operator,
          'operator must be Exists when `key` is empty, which means "match all values and all keys"',
        ),
      );
    if (operator === 'Exists' && value)
      errors.push(invalid(`${path}.operator`, toleration, "value must be empty when `operator` is 'Exists'"));
    if (tolerationSeconds !== undefined && effect !== 'NoExecute')
      errors.push(
        invalid(`${path}.effect`, effect ?? '', "effect must be 'NoExecute' when `tolerationSeconds` is set"),
      );
  });
  return errors;
}

const changeable =
  'pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations)';

/** What differs between two specs beyond what Kubernetes lets an update change. */
export function validatePodUpdate(spec: PodSpec, old: PodSpec): FieldError[] {
  if (spec.containers.length !== old.containers.length)
    return [forbidden('spec.containers', 'pod updates may not add or remove containers')];
  if (spec.initContainers?.length !== old.initContainers?.length)
    return [forbidden('spec.initContainers', 'pod updates may not add or remove containers')];
  const errors: FieldError[] = [];
  const deadline = spec.activeDeadlineSeconds;
  const before = old.activeDeadlineSeconds;
  if (before !== undefined && (deadline === undefined || deadline > before))
    errors.push(
      invalid(
        'spec.activeDeadlineSeconds',
        deadline ?? null,
        `must be less than or equal to previous value ${before}`,
      ),
    );
  const kept = (old.tolerations ?? []).every((one) =>
    spec.tolerations?.some((other) =>
      isDeepStrictEqual({ ...one, tolerationSeconds: 0 }, { ...other, tolerationSeconds: 0 }),
    ),
  );
  if (!kept)
    errors.push(
      forbidden('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds'),
    );
  const changed = changedFields(fixedPart(spec), fixedPart(old), 'spec');
  if (changed.length > 0) errors.push(forbidden('spec', `${changeable}; changed: ${changed.join(', ')}`));
  return errors;
}

function fixedPart(spec: PodSpec): object {
  const { activeDeadlineSeconds: _deadline, tolerations: _tolerations, ...rest } = spec;
  const withoutImage = ({ image: _image, ...container }: Container): object => container;
  return {
    ...rest,
    containers: spec.containers.map(withoutImage),
    initContainers: spec.initContainers?.map(withoutImage),
  };
}

function changedFields(a: unknown, b: unknown, path: string): string[] {
  if (isDeepStrictEqual(a, b)) return [];
  if (Array.isArray(a) && Array.isArray(b) && a.length === b.length)
    return a.flatMap((one, at) => changedFields(one, b[at], `${path}[${at}]`));
  if (!isPlain(a) || !isPlain(b)) return [path];
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].flatMap((key) => changedFields(a[key], b[key], `${path}.${key}`));
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
