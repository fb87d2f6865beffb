// Image references: the full form of what people write, and clear refusals of what is none.
import t from 'tap';
import { isLocalRegistry, parseReference } from '../../../lib/container/image/reference.ts';

const digest = `sha256:${'a1'.repeat(32)}`;
const good: ReadonlyArray<readonly [string, string]> = [
  ['nginx', 'docker.io/library/nginx:latest'],
  ['nginx:1.27', 'docker.io/library/nginx:1.27'],
  ['me/app', 'docker.io/me/app:latest'],
  ['docker.io/nginx', 'docker.io/library/nginx:latest'],
  ['index.docker.io/me/app:x', 'docker.io/me/app:x'],
  ['quay.io/a/b/c:v1.0_x-y', 'quay.io/a/b/c:v1.0_x-y'],
  ['localhost/host', 'localhost/host:latest'],
  ['localhost:5000/x', 'localhost:5000/x:latest'],
  ['registry.example:5000/a__b/c-d.e:1', 'registry.example:5000/a__b/c-d.e:1'],
  ['[::1]:5000/x:1', '[::1]:5000/x:1'],
  [`nginx@${digest}`, `docker.io/library/nginx@${digest}`],
  [`nginx:1.27@${digest}`, `docker.io/library/nginx@${digest}`],
  ['MyHost/app', 'MyHost/app:latest'],
];
for (const [text, want] of good) t.test(text, async (t) => t.equal(parseReference(text).normalized, want));

const bad: ReadonlyArray<readonly [string, RegExp]> = [
  ['', /empty/],
  ['Nginx', /"Nginx" is no part of a repository's name/],
  ['../../etc/passwd', /"\.\." is no part/],
  ['a/../b', /"\.\." is no part/],
  ['docker.io/../x', /"\.\." is no part/],
  ['..:5000/x', /is no part of a repository's name|is no registry host/],
  ['/etc/passwd', /"" is no part/],
  ['a//b', /"" is no part/],
  ['nginx:', /"" is no tag/],
  ['nginx:../x', /"nginx:\.\." is no registry host/],
  [`nginx:${'x'.repeat(129)}`, /is no tag/],
  ['nginx@sha256:12', /is no digest/],
  ['nginx@../../x', /is no digest/],
  [`nginx@${digest}@${digest}`, /more than one @/],
  ['-host.example/x', /is no registry host/],
  ['host.example:99999999/x', /is no registry host/],
  ['a b', /is no part/],
  [`${'a'.repeat(300)}`, /longer than 255/],
  [`x/${'a'.repeat(600)}`, /longer than 512/],
];
for (const [text, message] of bad)
  t.test(`refuses ${JSON.stringify(text.slice(0, 40))}`, async (t) => {
    t.throws(() => parseReference(text), { code: 'InvalidImageName', message });
  });

for (const [registry, local] of [
  ['localhost:5000', true],
  ['localhost', true],
  ['127.0.0.1:80', true],
  ['[::1]:5000', true],
  ['127.example.com', false],
  ['localhost.example', false],
  ['docker.io', false],
] as const)
  t.test(`${registry} is ${local ? '' : 'not '}of this machine`, async (t) =>
    t.equal(isLocalRegistry(registry), local),
  );
