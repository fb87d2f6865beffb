// podwire, the command line: arguments in, exit code out. The only place of the CLI that sets how the process ends.
import { CommanderError } from 'commander';
import { normalizeArgv } from './argv.ts';
import { describeError, ExitWith } from './errors.ts';
import { buildProgram } from './program.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';

// `podwire get pods | head` closes the pipe early: that is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

const program = buildProgram();
for (const command of [program, ...program.commands, ...program.commands.flatMap((each) => each.commands)])
  command.exitOverride();

try {
  await program.parseAsync(normalizeArgv(process.argv.slice(2)), { from: 'user' });
} catch (error) {
  process.exitCode = tell(error);
}

/** Says what went wrong; gives the exit code. */
function tell(error: unknown): number {
  if (error instanceof ExitWith) return error.exitCode;
  if (error instanceof CommanderError) return error.exitCode;
  const { socket, root } = program.opts<{ socket?: string; root?: string }>();
  const place = socket ?? nodePaths(root ?? process.env.PODWIRE_ROOT ?? '/').socket;
  process.stderr.write(`${describeError(error, { socket: place })}\n`);
  return 1;
}
