// Admission: what looks at an object on its way into the store, changes it, or refuses it. Types only.
// Assumes the registry calls each in turn, after defaulting and before validation.
// One call a write; what it costs, every write of that resource costs.
import type { Identity } from '../pki/certificate.ts';
import type { ApiObject, Resource } from './types.ts';

export interface AdmitRequest {
  readonly operation: 'CREATE' | 'UPDATE';
  readonly resource: Resource;
  /** May be changed: it is the registry's private copy, after defaulting and before validation. */
  readonly object: ApiObject;
  readonly old?: ApiObject;
  /** Nothing is written, so nothing may be set aside for it. */
  readonly dryRun: boolean;
  /** Who asks; absent: the daemon itself. */
  readonly user?: Identity | undefined;
}

/** Changes the object, or refuses it by throwing an ApiError. */
export type Admit = (request: AdmitRequest) => void | Promise<void>;
