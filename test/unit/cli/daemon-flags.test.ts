// Every flag that `up` and `join` take reaches podwired, which knows it.
import t from 'tap';
import { daemonArgv } from '../../../cmd/podwire/daemon.ts';
import type { Context } from '../../../cmd/podwire/context.ts';
import { buildProgram } from '../../../cmd/podwire/program.ts';
import { run } from '../../../lib/exec/exec.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';

const context = { paths: nodePaths('/') } as Context;

t.test('no flag is taken and forgotten', async (t) => {
  const { stdout: help } = await run({
    argv: [process.execPath, new URL('../../../cmd/podwired/main.ts', import.meta.url).pathname, '--help'],
  });
  for (const verb of ['up', 'join']) {
    const command = buildProgram().commands.find((one) => one.name() === verb);
    const options = command?.options ?? [];
    t.ok(options.length > 10, verb);
    for (const option of options) {
      const argv = daemonArgv(context, { [option.attributeName()]: '/x' });
      t.same(argv.slice(1), [option.long, '/x'], `podwire ${verb} ${option.long}`);
      t.match(help, `${option.long} `, `podwired ${option.long}`);
    }
  }
});
