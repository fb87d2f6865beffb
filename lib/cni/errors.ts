// CNI's error object as a typed error: the number a plugin gave, its short message and its details.
// Assumes the well-known numbers of the specification; 100 and above are a plugin's own.
import { PodwireError } from '../exec/errors.ts';

/** Well-known numbers. Source: CNI specification 1.1.0, "Error", and the reference's types.go for 8. */
export const cniCodes = {
  CNI_INCOMPATIBLE_VERSION: 1,
  CNI_UNSUPPORTED_FIELD: 2,
  CNI_UNKNOWN_CONTAINER: 3,
  CNI_INVALID_ENVIRONMENT: 4,
  CNI_IO_FAILURE: 5,
  CNI_DECODING_FAILURE: 6,
  CNI_INVALID_CONFIG: 7,
  CNI_INVALID_NETNS: 8,
  CNI_TRY_AGAIN: 11,
  CNI_NOT_AVAILABLE: 50,
  CNI_LIMITED_CONNECTIVITY: 51,
  CNI_INTERNAL: 999,
} as const;

export type CniErrorCode = keyof typeof cniCodes | 'CNI_PLUGIN';

/** Looked for when there is an error: a table of all costs every plugin's start 0.13 ms. */
function nameOf(number: number): CniErrorCode {
  const codes = Object.entries(cniCodes) as Array<[CniErrorCode, number]>;
  return codes.find(([, one]) => one === number)?.[0] ?? 'CNI_PLUGIN';
}

/** A failure in CNI's terms. `cniCode` is the number; `code` its stable name, CNI_PLUGIN for a plugin's own number. */
export class CniError extends PodwireError {
  declare readonly code: CniErrorCode;
  readonly cniCode: number;
  readonly details: string;
  constructor(cniCode: number, message: string, options: { details?: string; cause?: unknown } = {}) {
    super(nameOf(cniCode), message, options.cause === undefined ? {} : { cause: options.cause });
    this.cniCode = cniCode;
    this.details = options.details ?? '';
  }
}

/** An error by the name of its number. */
export function cniError(
  code: keyof typeof cniCodes,
  message: string,
  options: { details?: string; cause?: unknown } = {},
): CniError {
  return new CniError(cniCodes[code], message, options);
}
