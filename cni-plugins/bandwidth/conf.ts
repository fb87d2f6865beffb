// The configuration of bandwidth, narrowed. Assumes the keys and meaning of the reference plugin of that name: rates in
// bits per second, bursts in bits, seen from the container (ingress: towards it); 0 is no limit. Pure.
import { cniError } from '../../lib/cni/errors.ts';
import type { Fields } from '../../lib/cni/json.ts';
import type { Shape } from '../../lib/kernel/tc.ts';

export interface BandwidthConf {
  /** Towards the container; undefined: no limit. */
  readonly ingress: Shape | undefined;
  /** From it. */
  readonly egress: Shape | undefined;
}

const keys = ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst'];

/** The list's own values, else those of the capability `bandwidth`. @throws CniError 7, 2; both name the key */
export function parseConf(conf: Fields): BandwidthConf {
  for (const key of ['shapedSubnets', 'unshapedSubnets'])
    if (conf.array(key).length > 0)
      throw cniError(
        'CNI_UNSUPPORTED_FIELD',
        `${key}: shaping by subnet is not served; all of a direction is shaped`,
      );
  const inline = keys.some((key) => conf.object[key] !== undefined && conf.object[key] !== null);
  const fields = inline ? conf : conf.fields('runtimeConfig').fields('bandwidth');
  return { ingress: parseShape(fields, 'ingress'), egress: parseShape(fields, 'egress') };
}

const most = 8 * (2 ** 32 - 2); // bits: tc and kernel count a bucket in 32 bits of bytes

function parseShape(fields: Fields, way: 'ingress' | 'egress'): Shape | undefined {
  const [rateKey, burstKey] = [`${way}Rate`, `${way}Burst`];
  const rate = fields.integer(rateKey, { min: 0, max: Number.MAX_SAFE_INTEGER }) ?? 0;
  const burst = fields.integer(burstKey, { min: 0, max: most }) ?? 0;
  if (rate === 0 && burst === 0) return undefined;
  if (rate < 8) throw fields.bad(rateKey, `at least 8 bits per second beside ${burstKey}`);
  if (burst < 8) throw fields.bad(burstKey, `at least 8 bits beside ${rateKey}`);
  return { rate, burst };
}
