// Checks the direction of imports of docs/architecture.md: a layer imports only what stands below it, and no circles.
// Assumes imports written as this repository writes them: static `from '…'`, `import('…')`, with `.ts` endings.
// Own code, because dependency-cruiser 18 cannot read TypeScript with TypeScript 7 and then finds nothing to complain of.
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

export interface Import {
  readonly from: string;
  /** A path in the repository, or the name of a package or of a Node module. */
  readonly to: string;
}

export interface Rule {
  readonly name: string;
  readonly from: RegExp;
  readonly to: RegExp;
}

/** From the bottom up. */
const layers = [
  ...['exec', 'kernel', 'api', 'store', 'cni', 'container', 'sandbox'],
  ...['service-proxy', 'node-network', 'kubelet', 'controllers', 'apiserver', 'lab'],
];

const upward: Rule[] = layers.map((layer, at) => ({
  name: `lib/${layer} may import only ${layers.slice(0, at).join(', ') || 'nothing of ours'}`,
  from: new RegExp(`^lib/${layer}/`),
  to: new RegExp(`^(lib/(${[...layers.slice(at + 1), '$none'].join('|')})|cmd|cni-plugins)/`),
}));

export const rules: readonly Rule[] = [
  ...upward,
  {
    name: 'every folder of lib/ has its place among the layers',
    from: new RegExp(`^lib/(?!(${layers.join('|')})/)`),
    to: /./,
  },
  {
    name: 'a plugin is an executable of its own: exec, kernel and the protocol types of cni only',
    from: /^cni-plugins\//,
    to: /^(cmd\/|lib\/(?!exec\/|kernel\/|cni\/))/,
  },
  {
    name: 'the kubelet and what is below it know no HTTP',
    from: /^lib\/(kubelet|sandbox|container|cni|kernel|store|exec)\//,
    to: /^(node:)?(https?|http2)$|^(fastify|ws)$/,
  },
  {
    name: 'only lib/exec starts processes',
    from: /^(lib\/(?!exec\/)|cni-plugins\/|cmd\/)/,
    to: /^(node:)?child_process$|^(execa|@lydell\/node-pty)$/,
  },
];

/** The imports of a source text, types included, resolved against its own path. Pure. */
export function importsOf(path: string, text: string): Import[] {
  const pattern =
    /^(?:import|export)\b(?:[^;'"]*?\bfrom)?\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm;
  return [...text.matchAll(pattern)].map((match) => {
    const target = match[1] ?? match[2]!;
    return { from: path, to: target.startsWith('.') ? normalize(join(dirname(path), target)) : target };
  });
}

/** A line for each import that a rule forbids. Pure. */
export function forbidden(imports: readonly Import[]): string[] {
  return imports.flatMap(({ from, to }) =>
    rules
      .filter((rule) => rule.from.test(from) && rule.to.test(to))
      .map((rule) => `${from} imports ${to}: ${rule.name}`),
  );
}

/** A line for each circle, from each of its first files found. Pure; linear in the imports. */
export function circles(imports: readonly Import[]): string[] {
  const next = Map.groupBy(imports, (each) => each.from);
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    if (at >= 0) found.push(`circle: ${[...path.slice(at), file].join(' → ')}`);
    if (at >= 0 || done.has(file)) return;
    for (const { to } of next.get(file) ?? []) visit(to, [...path, file]);
    done.add(file);
  };
  for (const file of next.keys()) visit(file, []);
  return found;
}

function main(): void {
  const files = globSync('{cmd,lib,cni-plugins}/**/*.ts').sort();
  const imports = files.flatMap((file) => importsOf(file, readFileSync(file, 'utf8')));
  const wrong = [...forbidden(imports), ...circles(imports)];
  for (const line of wrong) console.error(line);
  console.log(
    `imports: ${files.length} files, ${imports.length} imports, ${wrong.length} against the layers`,
  );
  if (wrong.length > 0 || imports.length === 0) process.exitCode = 1;
}

if (import.meta.main) main();
