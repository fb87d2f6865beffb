// Mirror Pods: the API's picture of static Pods, so that `get`, `logs` and `exec` see them.
// Assumes the file is the truth: a mirror that differs is replaced, one that was deleted is made again.
// One get a sync of a static Pod.
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import type { Pod } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { mirrorAnnotation, runtimeUid } from './layout.ts';
import type { PodState } from './pod-state.ts';

export class MirrorClient {
  readonly #client: Client;
  readonly #log: Logger;
  constructor(client: Client, log: Logger) {
    this.#client = client;
    this.#log = log;
  }

  /** Makes the API show this static Pod. A failure is logged only: the Pod runs all the same. */
  async ensure(state: PodState): Promise<void> {
    const { pod } = state;
    const { namespace, name, uid } = pod.metadata;
    try {
      const found = await this.#find(pod);
      if (found && runtimeUid(found) === uid && !found.metadata.deletionTimestamp) {
        state.lastStatus ??= found.status; // of an earlier daemon: a Pod from a file has none of its own
        return;
      }
      if (found) await this.#delete(found);
      const { metadata, spec, apiVersion, kind } = pod;
      const annotations = { ...metadata.annotations, [mirrorAnnotation]: uid };
      await this.#client.create(
        'pods',
        { apiVersion, kind, metadata: { name, namespace, labels: metadata.labels, annotations }, spec },
        { namespace },
      );
      delete state.lastStatus; // the new object has none
    } catch (error) {
      this.#log.error(
        { err: error, pod: name, namespace },
        `mirror of static Pod not written: ${messageOf(error)}`,
      );
    }
  }

  /** Removes the mirror of a static Pod whose file is gone. */
  async remove(pod: Pod, staticUid = pod.metadata.uid): Promise<void> {
    const found = await this.#find(pod);
    if (found && runtimeUid(found) === staticUid) await this.#delete(found);
  }

  async #find(pod: Pod): Promise<Pod | undefined> {
    const { namespace, name } = pod.metadata;
    try {
      return await this.#client.get('pods', { namespace, name });
    } catch (error) {
      if (isReason(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  async #delete(pod: Pod): Promise<void> {
    const { namespace, name, uid } = pod.metadata;
    await this.#client.delete('pods', { namespace, name }, { gracePeriodSeconds: 0, preconditions: { uid } });
  }
}
