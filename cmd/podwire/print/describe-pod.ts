// `podwire describe pod`: everything known about one Pod, laid out as kubectl does, and where its start-up time went.
// Assumes objects as the API gives them: any field may be absent. Pure.
import type {
  Container,
  ContainerState,
  ContainerStatus,
  Event,
  Pod,
  Probe,
} from '../../../lib/api/types.ts';
import { ephemeralContainers } from '../../../lib/api/pod-containers.ts';
import { envFromText, envText, volumes } from './describe-sources.ts';
import { renderEvents } from './events.ts';
import { type Bar, type Field, renderBars, renderFields, renderTable } from './text.ts';

/** Holds the JSON array of {name, start, ms} that podwired writes when a Pod has started. */
export const startStepsKey = 'podwire.dev/start-steps';
const hiddenAnnotations = ['kubectl.kubernetes.io/last-applied-configuration', startStepsKey];

export function describePod(pod: Pod, events: readonly Event[], now: number): string {
  const { spec, status = {} } = pod;
  const init = spec.initContainers ?? [];
  const debuggers = ephemeralContainers(spec);
  const conditions = (status.conditions ?? []).map((each) => [each.type, each.status, each.reason ?? '']);
  const withReasons = conditions.some((row) => row[2] !== '');
  const shownConditions = withReasons ? conditions : conditions.map((row) => row.slice(0, 2));
  const header = withReasons ? ['Type', 'Status', 'Reason'] : ['Type', 'Status'];
  return [
    renderFields(headFields(pod)),
    init.length > 0 ? `Init Containers:\n${containers(init, status.initContainerStatuses)}` : '',
    `Containers:\n${containers(spec.containers, status.containerStatuses)}`,
    debuggers.length > 0
      ? `Ephemeral Containers:\n${containers(debuggers, status.ephemeralContainerStatuses)}`
      : '',
    conditions.length > 0 ? `Conditions:\n${indented(renderTable(header, shownConditions))}` : '',
    volumes(spec.volumes ?? []),
    renderFields([['QoS Class', status.qosClass ?? '<none>']]),
    startSteps(pod.metadata.annotations?.[startStepsKey]),
    renderEvents(events, now),
  ].join('');
}

function headFields(pod: Pod): Field[] {
  const { metadata, spec, status = {} } = pod;
  const annotations = Object.fromEntries(
    Object.entries(metadata.annotations ?? {}).filter(([key]) => !hiddenAnnotations.includes(key)),
  );
  const deleting = metadata.deletionTimestamp
    ? `Terminating (since ${localTime(metadata.deletionTimestamp)}; grace ${metadata.deletionGracePeriodSeconds ?? 0}s)`
    : undefined;
  return [
    ['Name', metadata.name],
    ['Namespace', metadata.namespace],
    ['Priority', String(spec.priority ?? 0)],
    ['Node', spec.nodeName ? `${spec.nodeName}${status.hostIP ? `/${status.hostIP}` : ''}` : '<none>'],
    ['Start Time', status.startTime ? localTime(status.startTime) : undefined],
    ['Labels', pairs(metadata.labels)],
    ['Annotations', pairs(annotations, ': ')],
    ['Status', deleting ?? status.phase ?? 'Unknown'],
    ['Reason', status.reason],
    ['Message', status.message],
    ['IP', status.podIP ?? ''],
    ['IPs', (status.podIPs ?? []).length > 0 ? (status.podIPs ?? []).map((each) => each.ip ?? '') : '<none>'],
  ];
}

export function pairs(map: Readonly<Record<string, string>> | undefined, between = '='): string | string[] {
  const entries = Object.entries(map ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.length === 0 ? '<none>' : entries.map(([key, value]) => `${key}${between}${value}`);
}

/** `Thu, 20 Nov 2025 05:30:00 +0000`: UTC, so that two people read the same. */
export function localTime(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toUTCString().replace('GMT', '+0000');
}

const indented = (text: string, by = '  '): string => text.replace(/^(?=.)/gm, by);

function containers(specs: readonly Container[], statuses: readonly ContainerStatus[] | undefined): string {
  return specs
    .map((spec) => {
      const status = statuses?.find((each) => each.name === spec.name);
      return `  ${spec.name}:\n${renderFields(containerFields(spec, status), '    ')}`;
    })
    .join('');
}

function containerFields(spec: Container, status: ContainerStatus | undefined): Field[] {
  const ports = spec.ports ?? [];
  return [
    ['Container ID', status?.containerID ?? ''],
    ['Image', spec.image ?? ''],
    ['Image ID', status?.imageID ?? ''],
    ['Port', ports.map((port) => `${port.containerPort}/${port.protocol ?? 'TCP'}`).join(', ') || '<none>'],
    [
      'Host Port',
      ports.map((port) => `${port.hostPort ?? 0}/${port.protocol ?? 'TCP'}`).join(', ') || '<none>',
    ],
    ['Command', spec.command?.flatMap(argument)],
    ['Args', spec.args?.flatMap(argument)],
    ...stateFields('State', status?.state),
    ...(Object.keys(status?.lastState ?? {}).length > 0 ? stateFields('Last State', status?.lastState) : []),
    ['Ready', status?.ready === true ? 'True' : 'False'],
    ['Restart Count', String(status?.restartCount ?? 0)],
    ['Limits', quantities(spec.resources?.limits)],
    ['Requests', quantities(spec.resources?.requests)],
    ['Liveness', spec.livenessProbe && probeText(spec.livenessProbe)],
    ['Readiness', spec.readinessProbe && probeText(spec.readinessProbe)],
    ['Startup', spec.startupProbe && probeText(spec.startupProbe)],
    ['Environment Variables from', envFromText(spec)],
    ['Environment', (spec.env ?? []).map((each) => `${each.name}: ${envText(each)}`).join('\n') || '<none>'],
    ['Mounts', mounts(spec)],
  ];
}

/** `http-get http://:8080/healthz delay=3s timeout=1s period=3s #success=1 #failure=3`, as kubectl writes it. */
function probeText(probe: Probe): string {
  const seconds = (amount: number | undefined): string => `${amount ?? 0}s`;
  const times = `delay=${seconds(probe.initialDelaySeconds)} timeout=${seconds(probe.timeoutSeconds)} period=${seconds(probe.periodSeconds)}`;
  const counts = `#success=${probe.successThreshold ?? 1} #failure=${probe.failureThreshold ?? 3}`;
  return `${probedText(probe)} ${times} ${counts}`;
}

function probedText({ exec, httpGet, tcpSocket, grpc }: Probe): string {
  if (exec) return `exec [${(exec.command ?? []).join(' ')}]`;
  if (httpGet)
    return `http-get ${(httpGet.scheme ?? 'HTTP').toLowerCase()}://${httpGet.host ?? ''}:${httpGet.port}${httpGet.path ?? '/'}`;
  if (tcpSocket) return `tcp-socket ${tcpSocket.host ?? ''}:${tcpSocket.port}`;
  return grpc ? `grpc <pod>:${grpc.port} ${grpc.service ?? ''}` : 'unknown';
}

const argument = (text: string): string[] => text.trimEnd().split('\n');

const pathText = ({ subPath, subPathExpr }: NonNullable<Container['volumeMounts']>[number]): string =>
  subPath || subPathExpr ? `,path="${subPath || subPathExpr}"` : '';

function mounts(spec: Container): string | string[] {
  const lines = (spec.volumeMounts ?? []).map(
    (mount) => `${mount.mountPath} from ${mount.name} (${mount.readOnly ? 'ro' : 'rw'}${pathText(mount)})`,
  );
  return lines.length === 0 ? '<none>' : lines;
}

function quantities(list: Readonly<Record<string, unknown>> | undefined): string[] | undefined {
  const entries = Object.entries(list ?? {});
  return entries.length === 0 ? undefined : entries.map(([name, amount]) => `${name}: ${String(amount)}`);
}

function stateFields(label: string, state: ContainerState | undefined): Field[] {
  if (state?.running) return [[label, ['Running', `Started: ${localTime(state.running.startedAt ?? '')}`]]];
  if (state?.terminated) {
    const { reason, exitCode, signal, message, startedAt, finishedAt } = state.terminated;
    const lines = [
      'Terminated',
      reason ? `Reason: ${reason}` : '',
      message ? `Message: ${message}` : '',
      `Exit Code: ${exitCode}${signal ? ` (signal ${signal})` : ''}`,
      startedAt ? `Started: ${localTime(startedAt)}` : '',
      finishedAt ? `Finished: ${localTime(finishedAt)}` : '',
    ];
    return [[label, lines.filter((line) => line !== '')]];
  }
  const { reason, message } = state?.waiting ?? {};
  return [
    [
      label,
      ['Waiting', reason ? `Reason: ${reason}` : '', message ? `Message: ${message}` : ''].filter(Boolean),
    ],
  ];
}

/** The bar chart of the start-up steps; nothing when the annotation is absent or not what it should be. */
function startSteps(annotation: string | undefined): string {
  const steps = parseSteps(annotation);
  if (steps.length === 0) return '';
  const total = Math.max(...steps.map((step) => step.start + step.ms));
  return `Start-up:  ${total.toFixed(1)} ms\n${renderBars(steps)}`;
}

function parseSteps(annotation: string | undefined): Bar[] {
  try {
    const value: unknown = JSON.parse(annotation ?? '[]');
    return Array.isArray(value) ? value.filter(isStep) : [];
  } catch {
    return [];
  }
}

const isStep = (value: unknown): value is Bar =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as Bar).name === 'string' &&
  typeof (value as Bar).start === 'number' &&
  typeof (value as Bar).ms === 'number';
