// Failures of the API as Kubernetes' Status objects: what a client sees is what a loop in the daemon sees.
// Assumes the reasons and codes of k8s.io/apimachinery/pkg/apis/meta/v1 (StatusReason).
import { PodwireError } from '../exec/errors.ts';

export interface StatusCause {
  reason: string;
  message: string;
  field: string;
}

/** metav1.Status with `status: Failure`. */
export interface FailureStatus {
  kind: 'Status';
  apiVersion: 'v1';
  metadata: Record<string, never>;
  status: 'Failure';
  message: string;
  reason: StatusReason;
  code: number;
  details?: { name?: string; kind?: string; group?: string; causes?: StatusCause[] };
}

const httpCode = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  NotAcceptable: 406,
  AlreadyExists: 409,
  Conflict: 409,
  Gone: 410,
  Expired: 410,
  RequestEntityTooLarge: 413,
  UnsupportedMediaType: 415,
  Invalid: 422,
  TooManyRequests: 429,
  InternalError: 500,
  ServiceUnavailable: 503,
  Timeout: 504,
} as const;

export type StatusReason = keyof typeof httpCode;

/** An API call that was refused; `code` is the StatusReason, `status` the whole Kubernetes Status object. */
export class ApiError extends PodwireError {
  readonly status: FailureStatus;
  constructor(
    reason: StatusReason,
    message: string,
    details?: FailureStatus['details'],
    options?: { cause?: unknown },
  ) {
    super(reason, message, options);
    this.status = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      code: httpCode[reason],
      ...(details ? { details } : {}),
    };
  }
  /** From a Status object that came over the wire. */
  static fromStatus(status: FailureStatus): ApiError {
    const reason = status.reason in httpCode ? status.reason : 'InternalError';
    return new ApiError(reason, status.message, status.details);
  }
}

/** True for an ApiError of that reason. */
export function isReason(error: unknown, reason: StatusReason): error is ApiError {
  return error instanceof ApiError && error.code === reason;
}
