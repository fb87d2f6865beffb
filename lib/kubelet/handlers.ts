// Probe and hook handlers as a Pod writes them, turned into what is to be asked where: host, port number, command. Pure.
// Assumes a defaulted, validated Pod. O(ports of the container).
// Source: kubelet's ResolveContainerPort, NewRequestForHTTPGetAction.
import type { Container, LifecycleHandler } from '../api/types.ts';
import { PodwireError } from '../exec/errors.ts';
import type { HttpTarget } from '../probe/http.ts';
import { expand } from './expansion.ts';

/** A container, and the address of its Pod. */
export interface HandlerSubject {
  readonly container: Container;
  readonly containerId: string;
  readonly podIP: string;
}

/** @throws PodwireError HANDLER_PORT when the container has no port of that name */
export function portOf(port: string | number, container: Container): number {
  if (typeof port === 'number') return port;
  const found = container.ports?.find(({ name }) => name === port)?.containerPort;
  if (found !== undefined) return found;
  throw new PodwireError(
    'HANDLER_PORT',
    `couldn't find port: ${JSON.stringify(port)} in container ${container.name}`,
  );
}

/** @throws PodwireError HANDLER_PORT */
export function httpTarget(
  action: NonNullable<LifecycleHandler['httpGet']>,
  { container, podIP }: HandlerSubject,
): Omit<HttpTarget, 'timeoutMs'> {
  return {
    scheme: action.scheme === 'HTTPS' ? 'https' : 'http',
    host: action.host || podIP,
    port: portOf(action.port, container),
    path: action.path || '/',
    headers: action.httpHeaders ?? [],
  };
}

/** A probe's words with $(NAME) of the container's literal environment put in. */
export function commandOf(words: readonly string[], container: Container): [string, ...string[]] {
  const vars = new Map((container.env ?? []).map(({ name, value }) => [name, value ?? '']));
  return words.map((word) => expand(word, vars)) as [string, ...string[]];
}
