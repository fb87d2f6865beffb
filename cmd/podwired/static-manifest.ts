// A static Pod's manifest, held to the same schema, defaults and rules as a Pod that comes through the API.
import type { Pod } from '../../lib/api/types.ts';
import { validateMeta } from '../../lib/api/validation/validation.ts';
import { readBody, refuse, setNamespace } from '../../lib/apiserver/registry/bodies.ts';
import { strategies } from '../../lib/apiserver/registry/strategies.ts';

/** @throws ApiError Invalid, naming every field that is wrong */
export function decodeStaticPod(document: unknown): Pod {
  const { object, errors } = readBody('pods', document);
  const pod = object as Pod;
  setNamespace('pods', pod, pod.metadata.namespace ?? 'default');
  strategies.pods.setDefaults(pod);
  strategies.pods.prepareCreate(pod);
  const { metaRules } = strategies.pods;
  refuse('pods', pod, [
    ...errors,
    ...validateMeta(pod.metadata, metaRules),
    ...strategies.pods.validate(pod),
  ]);
  return pod;
}
