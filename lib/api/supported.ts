// THE table of what this version of podwire does with a Pod's fields. What is not in it is refused by name at
// admission, and so never silently dropped. Assumes schema check and defaulting. O(fields given); pure.
// Who implements a field adds it here and runs `npm run generate`, for docs/pod-spec.md is made from this table.
import { type FieldError, forbidden } from './field-errors.ts';
import { placedContainers } from './pod-containers.ts';
import { isHugePages } from './quantity.ts';
import { fieldsOf } from './schema.ts';
import type { PodSpec } from './types.ts';

const later = 'not supported by podwire 0.1 yet';

/** Fields that are accepted. Types not listed are taken as a whole. */
const supported: Readonly<Record<string, readonly string[]>> = {
  PodSpec: [
    ...['containers', 'initContainers', 'readinessGates', 'volumes', 'restartPolicy'],
    ...['terminationGracePeriodSeconds', 'activeDeadlineSeconds'],
    ...['hostNetwork', 'hostPID', 'hostIPC', 'shareProcessNamespace', 'hostname', 'subdomain', 'hostAliases'],
    ...['setHostnameAsFQDN', 'hostUsers'],
    ...['imagePullSecrets', 'ephemeralContainers'],
    ...['dnsPolicy', 'dnsConfig', 'securityContext', 'nodeName'],
    ...['nodeSelector', 'affinity', 'tolerations', 'topologySpreadConstraints', 'schedulerName', 'priority'],
    ...['priorityClassName', 'preemptionPolicy', 'serviceAccountName', 'serviceAccount', 'os'],
    ...['automountServiceAccountToken', 'enableServiceLinks'],
  ],
  Container: [
    ...['name', 'image', 'command', 'args', 'workingDir', 'env', 'envFrom', 'ports'],
    ...['volumeMounts', 'resources', 'resizePolicy'],
    ...['imagePullPolicy', 'securityContext', 'tty', 'stdin', 'stdinOnce'],
    ...['terminationMessagePath', 'terminationMessagePolicy', 'restartPolicy'],
    ...['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'],
  ],
  // Kubernetes refuses the other fields of it, too.
  EphemeralContainer: [
    ...[
      'name',
      'image',
      'command',
      'args',
      'workingDir',
      'env',
      'envFrom',
      'volumeMounts',
      'targetContainerName',
    ],
    ...['imagePullPolicy', 'securityContext', 'tty', 'stdin', 'stdinOnce'],
    ...['terminationMessagePath', 'terminationMessagePolicy'],
  ],
  // No kubelet runs a tcpSocket hook; Kubernetes lets it in for old times' sake, and then it fails.
  LifecycleHandler: ['exec', 'httpGet', 'sleep'],
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
    ...['runAsNonRoot', 'capabilities', 'seccompProfile', 'procMount', 'appArmorProfile'],
  ],
  PodSecurityContext: [
    ...['runAsUser', 'runAsGroup', 'runAsNonRoot', 'supplementalGroups', 'sysctls', 'seccompProfile'],
    ...['fsGroup', 'fsGroupChangePolicy', 'supplementalGroupsPolicy', 'appArmorProfile'],
  ],
};

const noPreemption = 'no Pod is ended to make room for another, and the queue has one order';
const noAccounts = 'there are no service accounts, and no token is mounted';
const freshVolume = 'the volumes that it is about are always empty at first, so there is nothing to walk';

/** Fields that are accepted though nothing comes of them, and why that does no harm. Key: Type.field */
const withoutEffect: Readonly<Record<string, string>> = {
  'PodSpec.preemptionPolicy': noPreemption,
  'PodSpec.serviceAccountName': noAccounts,
  'PodSpec.serviceAccount': noAccounts,
  'PodSpec.automountServiceAccountToken': noAccounts,
  'PodSpec.enableServiceLinks': 'there are no Services whose addresses could stand in the environment',
  'PodSpec.os': 'it may only say linux',
  'PodSecurityContext.fsGroupChangePolicy': freshVolume,
  'PodSecurityContext.appArmorProfile': 'it may only be Unconfined, which is what happens',
  'SecurityContext.appArmorProfile': 'it may only be Unconfined, which is what happens',
};

const noAppArmor = 'podwire loads no AppArmor profiles yet; only Unconfined is accepted';

/** Values that are refused, of fields that are otherwise there, and why. Key: Type.field */
const refusedValues: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'PodOS.name': { windows: later },
  'EmptyDirVolumeSource.medium': { HugePages: later },
  'AppArmorProfile.type': { RuntimeDefault: noAppArmor, Localhost: noAppArmor },
};

const isSupportedResource = (name: string): boolean =>
  ['cpu', 'memory', 'ephemeral-storage'].includes(name) || isHugePages(name);

/** A Forbidden for each field or value that this version would have to ignore. */
export function unsupportedFields(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  walk(spec, 'PodSpec', 'spec', errors);
  refuseDetails(spec, errors);
  return errors;
}

function walk(value: unknown, typeName: string, path: string, errors: FieldError[]): void {
  const list = supported[typeName];
  const fields = fieldsOf(typeName);
  if (fields === undefined) return;
  for (const [name, given] of Object.entries(value as Record<string, unknown>)) {
    const at = `${path}.${name}`;
    const key = `${typeName}.${name}`;
    if (list && !list.includes(name)) {
      if (!isNothing(given, key)) errors.push(forbidden(at, later));
      continue;
    }
    const why = typeof given === 'string' ? refusedValues[key]?.[given] : undefined;
    if (why !== undefined)
      errors.push(forbidden(at, `${JSON.stringify(given)}${why === later ? ' is ' : ': '}${why}`));
    const type = fields[name]?.type;
    if (type === undefined || given === undefined || given === null) continue;
    if (type.startsWith('[]')) {
      (given as unknown[]).forEach((one, index) => {
        if (typeof one === 'object') walk(one, type.slice(2), `${at}[${index}]`, errors);
      });
    } else if (typeof given === 'object') walk(given, type, at, errors);
  }
}

const appArmorAnnotation = 'container.apparmor.security.beta.kubernetes.io/';

/** The old way to ask for an AppArmor profile; a Forbidden for each that would have to be ignored. */
export function unsupportedAnnotations(annotations: Readonly<Record<string, string>> = {}): FieldError[] {
  return Object.entries(annotations)
    .filter(([key, value]) => key.startsWith(appArmorAnnotation) && value !== 'unconfined')
    .map(([key]) => forbidden(`metadata.annotations[${key}]`, noAppArmor));
}

/** Go's zero values say nothing. */
function isNothing(value: unknown, key: string): boolean {
  if (value === undefined || value === null || value === '' || value === 0 || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  // A volume source or a probe may well be `{}`, and mean something.
  return (
    typeof value === 'object' &&
    Object.keys(value).length === 0 &&
    !/^(Volume|Container|EnvVarSource|LifecycleHandler)\./.test(key)
  );
}

function refuseDetails(spec: PodSpec, errors: FieldError[]): void {
  for (const { container, path } of placedContainers(spec)) {
    for (const kind of ['limits', 'requests'] as const) {
      for (const resource of Object.keys(container.resources?.[kind] ?? {})) {
        if (!isSupportedResource(resource))
          errors.push(forbidden(`${path}.resources.${kind}[${resource}]`, later));
      }
    }
    if (spec.hostUsers !== false) continue;
    container.volumeMounts?.forEach(({ mountPropagation }, at) => {
      // The kernel lets no mount out of a user namespace.
      if (mountPropagation === 'Bidirectional')
        errors.push(
          forbidden(
            `${path}.volumeMounts[${at}].mountPropagation`,
            'Bidirectional needs `hostUsers` to be true',
          ),
        );
    });
  }
  spec.volumes?.forEach((volume, at) => {
    const { medium = '' } = volume.emptyDir ?? {};
    const path = `spec.volumes[${at}].emptyDir`;
    if (medium.startsWith('HugePages-'))
      errors.push(forbidden(`${path}.medium`, `${JSON.stringify(medium)} is ${later}`));
  });
}

export interface FieldState {
  readonly state: 'done' | 'without effect' | 'refused';
  /** Why nothing comes of it, or which values are taken or refused. '' where there is nothing to tell. */
  readonly remark: string;
}

/** What this version does with a field of a type; for docs/pod-spec.md. */
export function fieldState(typeName: string, field: string): FieldState {
  const key = `${typeName}.${field}`;
  const list = supported[typeName];
  if (list && !list.includes(field)) return { state: 'refused', remark: '' };
  const refused = Object.entries(refusedValues[key] ?? {});
  const values = refused.map(
    ([value, why]) => `refused: ${JSON.stringify(value)}${why === later ? '' : ` (${why})`}`,
  );
  const idle = withoutEffect[key];
  if (idle !== undefined) return { state: 'without effect', remark: [idle, ...values].join('; ') };
  return { state: 'done', remark: values.join('; ') };
}
