// The life of namespaces: some are always there; a deleted one first ends what it holds, and goes when it is empty.
// Assumes creation in a terminating namespace is refused elsewhere. Repeatable at any point, so a crash costs nothing.
// O(objects of the namespace).
import type { DeleteOptions } from '../../api/client.ts';
import { ApiError } from '../../api/errors.ts';
import { resources } from '../../api/resources.ts';
import type { Namespace } from '../../api/types.ts';
import { isStoreError } from '../../store/store.ts';
import { forbiddenError } from '../api-errors.ts';
import { checkPreconditions } from './bodies.ts';
import { keyOf, prefixOf } from './keys.ts';
import type { ObjectTable } from './object-table.ts';
import { timestamp } from '../../api/time.ts';

export const systemNamespaces: readonly string[] = [
  'default',
  'kube-system',
  'kube-public',
  'kube-node-lease',
];

const attempts = 8;

/** Deletes one Pod with its grace period. */
export type DeletePod = (key: { namespace: string; name: string }) => Promise<unknown>;

/** @throws ApiError Forbidden */
export function refuseSystemNamespace(name: string): void {
  if (systemNamespaces.includes(name))
    throw forbiddenError('namespaces', name, 'this namespace may not be deleted');
}

/** Marks it Terminating; gives it as it then stood. @throws ApiError Forbidden for the system's own. */
export async function markNamespaceDeleted(
  table: ObjectTable,
  name: string,
  options: DeleteOptions & { now: number },
): Promise<Namespace> {
  refuseSystemNamespace(name);
  return table.retry('namespaces', { name }, async (old) => {
    const namespace = table.decode(old) as Namespace;
    checkPreconditions('namespaces', namespace, options.preconditions ?? {});
    if (namespace.metadata.deletionTimestamp) return namespace;
    const metadata = { ...namespace.metadata, deletionTimestamp: timestamp(options.now) };
    return table.put(
      'namespaces',
      { ...namespace, metadata, status: { ...namespace.status, phase: 'Terminating' as const } },
      { old },
    );
  });
}

/** Deletes what is in it: Pods with their grace, the rest at once; then, when nothing is left, itself. */
export async function emptyNamespace(table: ObjectTable, name: string, deletePod: DeletePod): Promise<void> {
  for (const { metadata } of (await table.list('pods', name)).items)
    await unlessGone(() => deletePod(metadata));
  await finishNamespace(table, name);
}

/** Removes a terminating namespace once its last Pod is gone; does nothing to any other. */
export async function finishNamespace(table: ObjectTable, name: string): Promise<void> {
  for (let attempt = 1; ; attempt++)
    try {
      await tryToFinish(table, name);
      return;
    } catch (error) {
      // Another server has changed something in it just now.
      if (!isStoreError(error, 'STORE_CONFLICT') || attempt === attempts) throw error;
    }
}

/** What is created after it was marked is refused by the store: its namespace is not as the creator saw it. */
async function tryToFinish(table: ObjectTable, name: string): Promise<void> {
  const entry = await table.store.get(keyOf('namespaces', { name }));
  if (!entry || table.decode(entry).metadata.deletionTimestamp === undefined) return;
  const { entries: pods } = await table.store.list(prefixOf('pods', name));
  if (pods.length > 0) return;
  for (const { resource } of Object.values(resources).filter(({ namespaced }) => namespaced))
    for (const entry of (await table.store.list(prefixOf(resource, name))).entries)
      await unlessGone(() => table.remove(resource, entry));
  await unlessGone(() => table.remove('namespaces', entry));
}

/** Whoever was quicker to delete it has done what was wanted. */
export async function unlessGone(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const gone =
      error instanceof ApiError ? error.code === 'NotFound' : isStoreError(error, 'STORE_NOT_FOUND');
    if (!gone) throw error;
  }
}
