// What every verb needs: where podwired is, the namespace, the client, and where to write.
// Assumes one command a process. The client is loaded only by the verbs that use it.
import type { HttpClient } from '../../lib/api/http/client.ts';
import { type NodePaths, nodePaths } from '../../lib/kernel/paths.ts';
import { UsageError } from './errors.ts';
import { type Paint, painter } from './print/text.ts';

/** The flags that every verb knows. */
export interface GlobalFlags {
  root?: string;
  namespace?: string;
  allNamespaces?: boolean;
  socket?: string;
}

export interface Context {
  readonly paths: NodePaths;
  readonly socket: string;
  readonly namespace: string;
  /** True with -A. */
  readonly allNamespaces: boolean;
  /** True when standard output is a terminal. */
  readonly terminal: boolean;
  readonly paint: Paint;
  /** Colours for standard error. */
  readonly paintErr: Paint;
  out(text: string): void;
  err(text: string): void;
  client(): Promise<HttpClient>;
}

/** A DNS label: what a namespace may be called. Checked here because it becomes part of a path. */
const label = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

export function makeContext(flags: GlobalFlags): Context {
  const paths = nodePaths(flags.root ?? process.env.PODWIRE_ROOT ?? '/');
  const socket = flags.socket ?? paths.socket;
  const namespace = flags.namespace ?? 'default';
  if (!label.test(namespace))
    throw new UsageError(
      `namespace "${namespace}": expected lower case letters, digits and "-", at most 63, e.g. default`,
    );
  return {
    paths,
    socket,
    namespace,
    allNamespaces: flags.allNamespaces === true,
    terminal: process.stdout.isTTY === true,
    paint: painter(colours(process.stdout)),
    paintErr: painter(colours(process.stderr)),
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    client: async () => {
      const { connect } = await import('./client.ts');
      return connect(socket);
    },
  };
}

/** The namespace to list in: undefined means all of them. */
export const listNamespace = (context: Context): string | undefined =>
  context.allNamespaces ? undefined : context.namespace;

function colours(stream: NodeJS.WriteStream): 'colour' | 'plain' {
  const off = process.env.NO_COLOR !== undefined && process.env.NO_COLOR !== '';
  return stream.isTTY && !off && process.env.TERM !== 'dumb' ? 'colour' : 'plain';
}

/** Aborts on Ctrl-C and TERM, so that a watch ends in order. */
export function untilInterrupted(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort());
  return controller.signal;
}
