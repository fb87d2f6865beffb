// Spans of time as Kubernetes shortens them for people: 12s, 5m12s, 3h, 2d4h.
// Assumes RFC 3339 times. Pure.
// Source: k8s.io/apimachinery/pkg/util/duration

/** `5m12s` since a time in RFC 3339; `<unknown>` without one. */
export function age(since: string | undefined, now: number): string {
  if (!since) return '<unknown>';
  return humanDuration((now - Date.parse(since)) / 1000);
}

/** Seconds as Kubernetes shortens them: two units where the first is small. */
export function humanDuration(seconds: number): string {
  const whole = Math.trunc(seconds);
  if (whole < -1) return '<invalid>';
  if (whole < 0) return '0s';
  if (whole < 120) return `${whole}s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 10) return pair(minutes, 'm', whole % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return pair(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 ? pair(years, 'y', days % 365, 'd') : `${years}y`;
}

const pair = (big: number, bigUnit: string, small: number, smallUnit: string): string =>
  small === 0 ? `${big}${bigUnit}` : `${big}${bigUnit}${small}${smallUnit}`;
