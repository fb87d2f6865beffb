// What the conditions of a status say. Pure.
import type { Node, Pod } from './types.ts';

/** Whether a Node or a Pod says of itself that it is ready. */
export const isReady = ({ status }: Node | Pod): boolean =>
  (status?.conditions ?? []).some(({ type, status: is }) => type === 'Ready' && is === 'True');
