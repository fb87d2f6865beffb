// Times as the API writes them. Pure.

/** RFC 3339 to the second, as metav1.Time; from milliseconds since the epoch. */
export function timestamp(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}

/** RFC 3339 to the microsecond, as metav1.MicroTime; from milliseconds since the epoch. */
export function microTime(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 23)}000Z`;
}
