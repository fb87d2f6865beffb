// What is wrong with one field of an object, and how many such faults become one Status of the API.
// Assumes Kubernetes' words (k8s.io/apimachinery/pkg/util/validation/field), so that tools and people recognise them.
// A handful of entries an object; pure.
import { ApiError } from './errors.ts';

export type FieldReason =
  | 'FieldValueRequired'
  | 'FieldValueInvalid'
  | 'FieldValueTypeInvalid'
  | 'FieldValueNotSupported'
  | 'FieldValueDuplicate'
  | 'FieldValueForbidden'
  | 'FieldValueNotFound'
  | 'FieldValueTooLong'
  /** Ours: the schema has no such field. Kubernetes tells it in the message only. */
  | 'FieldUnknown';

export interface FieldError {
  readonly reason: FieldReason;
  /** Path in Kubernetes' style: spec.containers[0].ports[1].containerPort */
  readonly field: string;
  /** Without the path. */
  readonly message: string;
}

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
};

export const required = (field: string, detail = ''): FieldError => ({
  reason: 'FieldValueRequired',
  field,
  message: detail ? `Required value: ${detail}` : 'Required value',
});
export const invalid = (field: string, value: unknown, detail: string): FieldError => ({
  reason: 'FieldValueInvalid',
  field,
  message: `Invalid value: ${shown(value)}: ${detail}`,
});
export const typeInvalid = (field: string, value: unknown, detail: string): FieldError => ({
  reason: 'FieldValueTypeInvalid',
  field,
  message: `Invalid value: ${shown(value)}: ${detail}`,
});
export const notSupported = (field: string, value: unknown, known: readonly string[]): FieldError => ({
  reason: 'FieldValueNotSupported',
  field,
  message: `Unsupported value: ${shown(value)}: supported values: ${known.map((one) => JSON.stringify(one)).join(', ')}`,
});
export const duplicate = (field: string, value: unknown): FieldError => ({
  reason: 'FieldValueDuplicate',
  field,
  message: `Duplicate value: ${shown(value)}`,
});
export const forbidden = (field: string, detail: string): FieldError => ({
  reason: 'FieldValueForbidden',
  field,
  message: `Forbidden: ${detail}`,
});
export const notFound = (field: string, value: unknown): FieldError => ({
  reason: 'FieldValueNotFound',
  field,
  message: `Not found: ${shown(value)}`,
});
export const tooLong = (field: string, max: number): FieldError => ({
  reason: 'FieldValueTooLong',
  field,
  message: `Too long: may not be more than ${max} bytes`,
});

/** True for faults of form (unknown field, wrong type): the object cannot be read, so its values were not judged. */
export function isFormFault(error: FieldError): boolean {
  return error.reason === 'FieldUnknown' || error.reason === 'FieldValueTypeInvalid';
}

const fullText = (error: FieldError): string =>
  error.reason === 'FieldUnknown' ? error.message : `${error.field}: ${error.message}`;

const joined = (errors: readonly FieldError[]): string => {
  const texts = errors.map(fullText);
  return texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
};

/** One ApiError of all the faults: BadRequest when the form is wrong, Invalid (422) when values are. */
export function fieldErrorsToApiError(
  subject: { kind: string; name?: string | undefined },
  errors: readonly FieldError[],
): ApiError {
  const causes = errors.map(({ reason, field, message }) => ({ reason, message, field }));
  const { kind, name = '' } = subject;
  const details = { kind, ...(name ? { name } : {}), causes };
  if (errors.some(isFormFault)) {
    const head = `${kind} in version "v1" cannot be handled as a ${kind}: strict decoding error`;
    return new ApiError('BadRequest', `${head}: ${joined(errors)}`, details);
  }
  return new ApiError('Invalid', `${kind} ${JSON.stringify(name)} is invalid: ${joined(errors)}`, details);
}

/** Keeps the first fault of each field and reason: schema and validation may both see the same one. */
export function withoutRepeats(errors: readonly FieldError[]): FieldError[] {
  const seen = new Set<string>();
  return errors.filter((error) => {
    const key = `${error.field} ${error.reason}`;
    if (error.reason !== 'FieldValueRequired' && error.reason !== 'FieldValueNotSupported') return true;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
