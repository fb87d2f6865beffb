// Kubernetes' rules for what goes on around a container's run: init containers, probes and lifecycle hooks.
// Assumes the schema check and defaulting have run. Collects every fault; O(fields); pure.
// Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (v1.34)
import { type FieldError, forbidden, invalid, notSupported, required } from '../field-errors.ts';
import { portNameFault, qualifiedNameFault } from '../names.ts';
import type { PlacedContainer } from '../pod-containers.ts';
import type { Container, LifecycleHandler, PodSpec, Probe } from '../types.ts';

const handlerTypes = ['exec', 'httpGet', 'tcpSocket', 'grpc', 'sleep'] as const;
type Handlers = Pick<Probe, 'exec' | 'httpGet' | 'tcpSocket' | 'grpc'> & Pick<LifecycleHandler, 'sleep'>;

/** Probes and hooks of one container, and what an init container may not have of them. */
export function lifecycleErrors({ container, kind, path }: PlacedContainer, spec: PodSpec): FieldError[] {
  const { lifecycle, restartPolicy } = container;
  const errors: FieldError[] = [];
  if (kind === 'app' && restartPolicy)
    errors.push(forbidden(`${path}.restartPolicy`, 'may not be set for non-init containers'));
  if (kind === 'init') {
    if (restartPolicy) errors.push(notSupported(`${path}.restartPolicy`, restartPolicy, ['Always']));
    const only = 'may not be set for init containers without restartPolicy=Always';
    for (const field of ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'] as const)
      if (container[field]) errors.push(forbidden(`${path}.${field}`, only));
    return errors;
  }
  for (const type of probeTypes) errors.push(...probeErrors(container, type, path));
  const grace = spec.terminationGracePeriodSeconds ?? 30;
  for (const hook of ['postStart', 'preStop'] as const)
    if (lifecycle?.[hook]) errors.push(...hookErrors(lifecycle[hook], `${path}.lifecycle.${hook}`, grace));
  if (lifecycle?.stopSignal && !spec.os?.name)
    errors.push(
      forbidden(`${path}.lifecycle.stopSignal`, 'may not be set for containers with empty `spec.os.name`'),
    );
  return errors;
}

/** Conditions that others set and that the Pod's readiness waits for. */
export function readinessGateErrors(spec: PodSpec): FieldError[] {
  return (spec.readinessGates ?? []).flatMap(({ conditionType }, at) => {
    const fault = qualifiedNameFault(conditionType);
    return fault ? [invalid(`spec.readinessGates[${at}].conditionType`, conditionType, fault)] : [];
  });
}

const probeTypes = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;
const amounts = [
  'initialDelaySeconds',
  'timeoutSeconds',
  'periodSeconds',
  'successThreshold',
  'failureThreshold',
] as const;

function probeErrors(container: Container, type: (typeof probeTypes)[number], parent: string): FieldError[] {
  const probe = container[type];
  if (!probe) return [];
  const path = `${parent}.${type}`;
  const errors = handlerErrors(probe, path);
  for (const field of amounts) {
    const amount = probe[field] ?? 0;
    const fault = amount < 0 ? 'must be greater than or equal to 0' : largeFault(amount);
    if (fault) errors.push(invalid(`${path}.${field}`, amount, fault));
  }
  if (type !== 'readinessProbe' && (probe.successThreshold ?? 1) !== 1)
    errors.push(invalid(`${path}.successThreshold`, probe.successThreshold, 'must be 1'));
  const grace = probe.terminationGracePeriodSeconds;
  if (grace === undefined) return errors;
  const field = `${path}.terminationGracePeriodSeconds`;
  if (type === 'readinessProbe') errors.push(invalid(field, grace, 'must not be set for readinessProbes'));
  else if (grace <= 0) errors.push(invalid(field, grace, 'must be greater than 0'));
  return errors;
}

/** Kubernetes keeps these in 32 bits; and no timer of ours holds more milliseconds. */
const largeFault = (amount: number): string | undefined =>
  amount > 2_000_000 ? 'must be less than or equal to 2000000' : undefined;

/** @param grace seconds that the Pod's containers get to end */
function hookErrors(handler: LifecycleHandler, path: string, grace: number): FieldError[] {
  const errors = handlerErrors(handler, path);
  const seconds = handler.sleep?.seconds;
  if (seconds !== undefined && (seconds < 0 || seconds > grace))
    errors.push(
      invalid(
        `${path}.sleep.seconds`,
        seconds,
        `must be a non-negative integer less than or equal to terminationGracePeriodSeconds: ${grace}`,
      ),
    );
  return errors;
}

function handlerErrors(handler: Handlers, path: string): FieldError[] {
  const given = handlerTypes.filter((type) => handler[type] !== undefined && handler[type] !== null);
  const [first, ...more] = given;
  if (first === undefined) return [required(path, 'must specify a handler type')];
  const errors = more.map((type) => forbidden(`${path}.${type}`, 'may not specify more than 1 handler type'));
  const { exec, httpGet, tcpSocket, grpc } = handler;
  if (exec && !exec.command?.length) errors.push(required(`${path}.exec.command`));
  if (exec?.command?.some((word) => word.includes('\0')))
    errors.push(invalid(`${path}.exec.command`, exec.command, 'must not contain a NUL'));
  if (httpGet) errors.push(...httpErrors(httpGet, `${path}.httpGet`));
  if (tcpSocket) errors.push(...portErrors(tcpSocket.port, `${path}.tcpSocket.port`));
  if (grpc) errors.push(...portErrors(grpc.port, `${path}.grpc.port`));
  return errors;
}

function httpErrors(action: NonNullable<Handlers['httpGet']>, path: string): FieldError[] {
  const errors = portErrors(action.port, `${path}.port`);
  if (!action.path) errors.push(required(`${path}.path`));
  // Words of a request line end at a blank, and lines at a line break.
  if (/[\s\0]/.test(action.host ?? ''))
    errors.push(invalid(`${path}.host`, action.host, 'must not contain white space'));
  action.httpHeaders?.forEach(({ name, value }, at) => {
    if (!/^[-A-Za-z0-9]+$/.test(name))
      errors.push(
        invalid(
          `${path}.httpHeaders`,
          name,
          "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name')",
        ),
      );
    if (/[\r\n\0]/.test(value))
      errors.push(invalid(`${path}.httpHeaders[${at}].value`, value, 'must not contain a line break or NUL'));
  });
  return errors;
}

function portErrors(port: string | number, path: string): FieldError[] {
  if (typeof port === 'number')
    return port >= 1 && port <= 65535 ? [] : [invalid(path, port, 'must be between 1 and 65535, inclusive')];
  const fault = portNameFault(port);
  return fault ? [invalid(path, port, fault)] : [];
}
