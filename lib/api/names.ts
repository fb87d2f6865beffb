// The forms names may have: what passes here can be a file name, a host name or an environment variable safely.
// Assumes RFC 1123 and k8s.io/apimachinery/pkg/util/validation; so ../../etc, /, NUL or an empty text never pass.
// Pure; each gives what is wrong, or undefined.

const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const qualified = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;

type Verdict = string | undefined;

/** At most 63 of a-z, 0-9 and -, beginning and ending with a letter or digit. */
export function dnsLabelFault(value: string): Verdict {
  if (value.length > 63) return 'must be no more than 63 characters';
  if (!label.test(value))
    return "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name' or '123-abc')";
  return undefined;
}

/** Labels joined by dots, at most 253 characters. */
export function dnsSubdomainFault(value: string): Verdict {
  if (value.length > 253) return 'must be no more than 253 characters';
  if (!subdomain.test(value))
    return "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')";
  return undefined;
}

/** A label or annotation key: an optional DNS prefix and a slash, then a name of at most 63 characters. */
export function qualifiedNameFault(value: string): Verdict {
  const parts = value.split('/');
  if (parts.length > 2) return 'a qualified name must have at most one slash (e.g. example.com/my-name)';
  const [prefix, name] = parts.length === 2 ? [parts[0]!, parts[1]!] : [undefined, parts[0]!];
  if (prefix !== undefined) {
    if (prefix === '') return 'prefix part must be non-empty';
    const fault = dnsSubdomainFault(prefix);
    if (fault) return `prefix part ${fault}`;
  }
  if (name === '') return 'name part must be non-empty';
  if (name.length > 63) return 'name part must be no more than 63 characters';
  if (!qualified.test(name))
    return "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName' or '123-abc')";
  return undefined;
}

/** Empty, or at most 63 characters of a qualified name. */
export function labelValueFault(value: string): Verdict {
  if (value === '') return undefined;
  if (value.length > 63) return 'must be no more than 63 characters';
  if (!qualified.test(value))
    return "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue' or '12345')";
  return undefined;
}

/** Any printable ASCII but '=' (Kubernetes 1.34, RelaxedEnvironmentVariableValidation). */
export function envNameFault(value: string): Verdict {
  if (!/^[ -<>-~]+$/.test(value))
    return "a valid environment variable name must consist only of printable ASCII characters other than '='";
  return undefined;
}

/** A key of a ConfigMap or Secret: it becomes a file name in a volume, so it may not be `.`, `..` or begin with `..`. */
export function dataKeyFault(value: string): Verdict {
  if (value.length > 253) return 'must be no more than 253 characters';
  if (!/^[-._a-zA-Z0-9]+$/.test(value))
    return "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name')";
  if (value === '.') return "must not be '.'";
  if (value.startsWith('..')) return "must not start with '..'";
  return undefined;
}

/** An IANA service name: at most 15 of a-z, 0-9 and -, at least one letter, no -- and none at the ends. */
export function portNameFault(value: string): Verdict {
  if (value.length > 15) return 'must be no more than 15 characters';
  if (!/^[-a-z0-9]+$/.test(value))
    return 'must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)';
  if (!/[a-z]/.test(value)) return 'must contain at least one letter (a-z)';
  if (value.includes('--')) return 'must not contain consecutive hyphens';
  if (value.startsWith('-') || value.endsWith('-')) return 'must not begin or end with a hyphen';
  return undefined;
}

/** A kernel parameter as Kubernetes writes it: dotted or slashed segments of a-z, 0-9, - and _. */
export function sysctlNameFault(value: string): Verdict {
  const segment = '[a-z0-9]([-_a-z0-9]*[a-z0-9])?';
  if (value.length > 253) return 'must be no more than 253 characters';
  if (!new RegExp(`^(${segment}[./])*${segment}$`).test(value))
    return 'must be dotted names of a-z, 0-9, - and _ (e.g. net.ipv4.tcp_syncookies)';
  return undefined;
}
