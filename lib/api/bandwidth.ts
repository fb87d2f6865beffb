// The annotations by which a Pod's traffic is shaped: what they ask for, and whether it can be. Pure.
// Source: k8s.io/kubernetes/pkg/util/bandwidth (keys, 1k to 1P bits per second).
import { type FieldError, invalid } from './field-errors.ts';
import { compareQuantities, isQuantity, quantityValue } from './quantity.ts';

const keys = {
  ingress: 'kubernetes.io/ingress-bandwidth',
  egress: 'kubernetes.io/egress-bandwidth',
} as const;

type Annotations = Readonly<Record<string, string>>;

export function validateBandwidth(annotations: Annotations): FieldError[] {
  return Object.values(keys).flatMap((key) => {
    const text = annotations[key];
    if (text === undefined) return [];
    const fits = isQuantity(text) && compareQuantities(text, '1k') >= 0 && compareQuantities(text, '1P') <= 0;
    if (fits) return [];
    return [invalid(`metadata.annotations[${key}]`, text, 'must be bits per second from 1k to 1P, e.g. 10M')];
  });
}

/** Bits per second, seen from the Pod; undefined where nothing is asked for. */
export interface Bandwidth {
  readonly ingress?: number;
  readonly egress?: number;
}

/** Of annotations that were validated. */
export function bandwidthOf(annotations: Annotations): Bandwidth | undefined {
  const rate = (key: string): number | undefined => {
    const text = annotations[key];
    return text !== undefined && isQuantity(text) ? quantityValue(text) : undefined;
  };
  const [ingress, egress] = [rate(keys.ingress), rate(keys.egress)];
  if (ingress === undefined && egress === undefined) return undefined;
  return { ...(ingress === undefined ? {} : { ingress }), ...(egress === undefined ? {} : { egress }) };
}
