// What docs/cni*.md shows to copy is what our library reads and our plugins are; what they link to is there.
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { ownCodes } from '../../../cni-plugins/skel/codes.ts';
import { plugins } from '../../../cni-plugins/registry.ts';
import { parseList } from '../../../lib/cni/conf.ts';
import { isObject } from '../../../lib/cni/json.ts';

const repo = fileURLToPath(new URL('../../..', import.meta.url));
const pages = globSync(['docs/cni.md', 'docs/cni/*.md', 'docs/networking.md', 'lib/cni/README.md'], {
  cwd: repo,
});

for (const page of pages.sort())
  t.test(page, async (t) => {
    const text = readFileSync(join(repo, page), 'utf8');
    for (const [, block = ''] of text.matchAll(/```json\n([\s\S]*?)```/g)) {
      const json: unknown = JSON.parse(block);
      if (!isObject(json) || json.plugins === undefined) continue;
      for (const { type, json: plugin } of parseList(json).plugins) {
        t.ok(Object.hasOwn(plugins, type), `${type} is a plugin of ours`);
        if (isObject(plugin.ipam))
          t.ok(Object.hasOwn(plugins, String(plugin.ipam.type)), 'its IPAM plugin, too');
      }
    }
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g))
      if (!/^https?:/.test(target)) t.ok(existsSync(join(repo, dirname(page), target)), `links to ${target}`);
    t.ok(true, 'read');
  });

t.test('docs/cni.md names every plugin and every error code', async (t) => {
  const text = readFileSync(join(repo, 'docs/cni.md'), 'utf8');
  for (const type of Object.keys(plugins))
    t.match(text, new RegExp(`\\| ${type} \\|.*\\(cni/${type}\\.md\\)`));
  for (const code of Object.values(ownCodes)) t.match(text, new RegExp(`^\\| ${code} \\|`, 'm'));
});
