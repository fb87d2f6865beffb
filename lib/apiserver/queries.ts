// Reads the parameters of a request's address: what is malformed is named, never guessed.
// Assumes values as the framework splits them: a text, or a list when repeated. Pure.
import { ApiError } from '../api/errors.ts';
import { allContainers, findContainer } from '../api/pod-containers.ts';
import type { Pod } from '../api/types.ts';
import type { AttachOptions, ExecOptions, LogOptions } from '../api/streams.ts';

export type Query = Readonly<Record<string, string | string[] | undefined>>;

/** The last one given. */
export function text(query: Query, name: string): string | undefined {
  const value = query[name];
  return Array.isArray(value) ? value.at(-1) : value;
}

export function flag(query: Query, name: string): boolean {
  const value = text(query, name);
  if (value === undefined || value === 'false' || value === '0') return false;
  if (value === 'true' || value === '1' || value === '') return true;
  throw new ApiError('BadRequest', `${name}: must be true or false, not ${JSON.stringify(value)}`);
}

export function count(query: Query, name: string, least = 0): number | undefined {
  const value = text(query, name);
  if (value === undefined || value === '') return undefined;
  if (!/^\d{1,15}$/.test(value) || Number(value) < least)
    throw new ApiError(
      'BadRequest',
      `${name}: Invalid value: ${JSON.stringify(value)}: must be an integer of at least ${least}`,
    );
  return Number(value);
}

/** The one asked for, or the only one. */
export function containerOf(pod: Pod, asked: string | undefined): string {
  const names = pod.spec.containers.map(({ name }) => name);
  const { name } = pod.metadata;
  if (asked) {
    if (findContainer(pod.spec, asked)) return asked;
    throw new ApiError(
      'BadRequest',
      `container ${asked} is not valid for pod ${name}; it has ${allContainers(pod.spec)
        .map((one) => one.name)
        .join(', ')}`,
    );
  }
  if (names.length === 1) return names[0]!;
  throw new ApiError(
    'BadRequest',
    `a container name must be specified for pod ${name}, choose one of: [${names.join(' ')}]`,
  );
}

export function logOptions(pod: Pod, query: Query): LogOptions {
  const sinceTime = text(query, 'sinceTime');
  if (sinceTime && Number.isNaN(Date.parse(sinceTime)))
    throw new ApiError(
      'BadRequest',
      `sinceTime: Invalid value: ${JSON.stringify(sinceTime)}: must be a time (RFC 3339)`,
    );
  const numbers = {
    tailLines: count(query, 'tailLines'),
    sinceSeconds: count(query, 'sinceSeconds', 1),
    limitBytes: count(query, 'limitBytes', 1),
  };
  if (sinceTime && numbers.sinceSeconds !== undefined)
    throw new ApiError('BadRequest', 'at most one of sinceTime or sinceSeconds may be specified');
  const given = Object.entries({ ...numbers, sinceTime: sinceTime || undefined }).filter(
    ([, value]) => value !== undefined,
  );
  return {
    container: containerOf(pod, text(query, 'container')),
    follow: flag(query, 'follow'),
    previous: flag(query, 'previous'),
    timestamps: flag(query, 'timestamps'),
    ...Object.fromEntries(given),
  };
}

/** @throws ApiError BadRequest when it has ended */
export function mustLive({ status }: Pod, what: string): void {
  const phase = status?.phase;
  if (phase === 'Succeeded' || phase === 'Failed')
    throw new ApiError(
      'BadRequest',
      `cannot ${what} a container in a completed pod; current phase is ${phase}`,
    );
}

export function attachOptions(pod: Pod, query: Query): AttachOptions {
  mustLive(pod, 'attach');
  return {
    container: containerOf(pod, text(query, 'container')),
    tty: flag(query, 'tty'),
    stdin: flag(query, 'stdin'),
  };
}

/** `ports`: repeated, or with commas between. */
export function forwardedPorts(query: Query): number[] {
  const given = [query.ports ?? []].flat().flatMap((some) => some.split(','));
  const ports = given.map(Number);
  if (ports.length === 0 || ports.some((port) => !Number.isInteger(port) || port < 1 || port > 65535))
    throw new ApiError(
      'BadRequest',
      `ports: Invalid value: ${JSON.stringify(given.join(','))}: must be numbers from 1 to 65535`,
    );
  return ports;
}

export function execOptions(pod: Pod, query: Query): ExecOptions {
  const given = query.command;
  const [program, ...args] = Array.isArray(given) ? given : given === undefined ? [] : [given];
  if (!program) throw new ApiError('BadRequest', 'you must specify at least one command for the container');
  mustLive(pod, 'exec into');
  return {
    container: containerOf(pod, text(query, 'container')),
    command: [program, ...args],
    tty: flag(query, 'tty'),
    stdin: flag(query, 'stdin'),
  };
}
