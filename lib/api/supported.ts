// THE table of what this version of podwire does with a Pod's fields. What is not in it is refused by name at
// admission, and so never silently dropped. Assumes schema check and defaulting. O(fields given); pure.
// A later issue that implements a field adds it here, and nowhere else.
import { type FieldError, forbidden } from './field-errors.ts';
import { placedContainers } from './pod-containers.ts';
import { fieldsOf } from './schema.ts';
import type { PodSpec } from './types.ts';

const later = 'not supported by podwire 0.1 yet';

/** Fields that are done, or that are harmless on a single node (marked). Types not listed are taken as a whole. */
const supported: Readonly<Record<string, readonly string[]>> = {
  PodSpec: [
    ...['containers', 'initContainers', 'readinessGates', 'volumes', 'restartPolicy'],
    ...['terminationGracePeriodSeconds', 'activeDeadlineSeconds'],
    ...['hostNetwork', 'hostPID', 'hostIPC', 'shareProcessNamespace', 'hostname', 'subdomain', 'hostAliases'],
    ...['dnsPolicy', 'dnsConfig', 'securityContext', 'nodeName'],
    // Harmless: for a scheduler or an API extension that is not there.
    ...['nodeSelector', 'affinity', 'tolerations', 'topologySpreadConstraints', 'schedulerName', 'priority'],
    ...['priorityClassName', 'preemptionPolicy', 'serviceAccountName', 'serviceAccount', 'os'],
    ...['automountServiceAccountToken', 'enableServiceLinks'],
  ],
  Container: [
    ...['name', 'image', 'command', 'args', 'workingDir', 'env', 'envFrom', 'ports'],
    ...['volumeMounts', 'resources'],
    ...['imagePullPolicy', 'securityContext', 'tty', 'stdin'],
    ...['terminationMessagePath', 'terminationMessagePolicy', 'restartPolicy'],
    ...['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'],
  ],
  ContainerPort: ['containerPort', 'name', 'protocol'],
  EnvVar: ['name', 'value', 'valueFrom'],
  EnvVarSource: ['fieldRef', 'resourceFieldRef', 'configMapKeyRef', 'secretKeyRef'],
  ResourceRequirements: ['limits', 'requests'],
  VolumeMount: [
    ...['name', 'mountPath', 'readOnly', 'recursiveReadOnly', 'mountPropagation', 'subPath', 'subPathExpr'],
  ],
  Volume: ['name', 'emptyDir', 'hostPath', 'configMap', 'secret', 'downwardAPI', 'projected'],
  VolumeProjection: ['configMap', 'secret', 'downwardAPI'],
  SecurityContext: [
    ...['privileged', 'readOnlyRootFilesystem', 'allowPrivilegeEscalation', 'runAsUser', 'runAsGroup'],
    ...['runAsNonRoot', 'capabilities', 'seccompProfile'],
  ],
  PodSecurityContext: [
    ...['runAsUser', 'runAsGroup', 'runAsNonRoot', 'supplementalGroups', 'sysctls', 'seccompProfile'],
    ...['fsGroup', 'fsGroupChangePolicy'],
  ],
  SeccompProfile: ['type'],
};

/** Values that ask for what happens anyway, of fields that are otherwise not there. Key: Type.field */
const harmlessValues: Readonly<Record<string, readonly unknown[]>> = {
  'PodSpec.hostUsers': [true],
  'SecurityContext.procMount': ['Default'],
  'PodSecurityContext.supplementalGroupsPolicy': ['Merge'],
};

/** Values that are refused, of fields that are otherwise there. Key: Type.field */
const refusedValues: Readonly<Record<string, readonly unknown[]>> = {
  'PodSpec.dnsPolicy': ['ClusterFirstWithHostNet'],
  'SeccompProfile.type': ['Localhost'],
  'PodOS.name': ['windows'],
};

/** Kernel parameters of a Pod's own namespaces that cannot hurt a neighbour. Source: kubelet's safe list, v1.34. */
export const safeSysctls: readonly string[] = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
];

const supportedResources = ['cpu', 'memory', 'ephemeral-storage'];

/** A Forbidden for each field or value that this version would have to ignore. */
export function unsupportedFields(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  walk(spec, 'PodSpec', 'spec', errors);
  refuseDetails(spec, errors);
  // On the machine's own network a port is a host port by nature; validation sees that both are equal.
  return spec.hostNetwork ? errors.filter(({ field }) => !field.endsWith('.hostPort')) : errors;
}

function walk(value: unknown, typeName: string, path: string, errors: FieldError[]): void {
  const list = supported[typeName];
  const fields = fieldsOf(typeName);
  if (fields === undefined) return;
  for (const [name, given] of Object.entries(value as Record<string, unknown>)) {
    const at = `${path}.${name}`;
    const key = `${typeName}.${name}`;
    if (list && !list.includes(name)) {
      if (!isNothing(given, key) && !harmlessValues[key]?.includes(given)) errors.push(forbidden(at, later));
      continue;
    }
    if (refusedValues[key]?.includes(given))
      errors.push(forbidden(at, `${JSON.stringify(given)} is ${later}`));
    const type = fields[name]?.type;
    if (type === undefined || given === undefined || given === null) continue;
    if (type.startsWith('[]')) {
      (given as unknown[]).forEach((one, index) => {
        if (typeof one === 'object') walk(one, type.slice(2), `${at}[${index}]`, errors);
      });
    } else if (typeof given === 'object') walk(given, type, at, errors);
  }
}

/** Go's zero values say nothing, but for pointers to a boolean, where `false` is an answer. */
function isNothing(value: unknown, key: string): boolean {
  if (value === undefined || value === null || value === '' || value === 0) return true;
  if (value === false) return key !== 'PodSpec.hostUsers';
  if (Array.isArray(value)) return value.length === 0;
  // A volume source or a probe may well be `{}`, and mean something.
  return (
    typeof value === 'object' &&
    Object.keys(value).length === 0 &&
    !/^(Volume|Container|EnvVarSource)\./.test(key)
  );
}

function refuseDetails(spec: PodSpec, errors: FieldError[]): void {
  for (const { container, path } of placedContainers(spec)) {
    for (const kind of ['limits', 'requests'] as const) {
      for (const resource of Object.keys(container.resources?.[kind] ?? {})) {
        if (!supportedResources.includes(resource))
          errors.push(forbidden(`${path}.resources.${kind}[${resource}]`, later));
      }
    }
  }
  spec.volumes?.forEach((volume, at) => {
    const { medium = '' } = volume.emptyDir ?? {};
    const path = `spec.volumes[${at}].emptyDir`;
    if (medium.startsWith('HugePages'))
      errors.push(forbidden(`${path}.medium`, `${JSON.stringify(medium)} is ${later}`));
  });
  spec.securityContext?.sysctls?.forEach((sysctl, at) => {
    if (!safeSysctls.includes(sysctl.name.replaceAll('/', '.')))
      errors.push(
        forbidden(
          `spec.securityContext.sysctls[${at}].name`,
          `${JSON.stringify(sysctl.name)} is not one of the safe sysctls: ${safeSysctls.join(', ')}`,
        ),
      );
  });
}
