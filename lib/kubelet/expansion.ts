// $(VAR) in command, args and env values. Pure. O(length of the text).
// Source: Kubernetes' expansion rules: unknown references stay as they are, $$ is a literal $, so $$(VAR) is $(VAR).

/** Replaces each $(NAME) for which `vars` has a value. */
export function expand(text: string, vars: ReadonlyMap<string, string>): string {
  return text.replace(/\$\$|\$\(([^)]*)\)/g, (whole, name: string | undefined) => {
    if (name === undefined) return '$';
    return vars.get(name) ?? whole;
  });
}

/** As expand(), but every reference must have a value. @throws RangeError naming the one that has not */
export function expandAll(text: string, vars: ReadonlyMap<string, string>): string {
  return text.replace(/\$\$|\$\(([^)]*)\)/g, (_, name: string | undefined) => {
    if (name === undefined) return '$';
    const value = vars.get(name);
    if (value === undefined) throw new RangeError(`missing value for ${JSON.stringify(name)}`);
    return value;
  });
}
