// `podwire doctor`: is this machine fit for podwire, and which command mends what is not.
import type { Context } from '../context.ts';
import { renderFindings } from '../doctor/finding.ts';
import * as look from '../doctor/look.ts';
import { ExitWith, UsageError } from '../errors.ts';

export interface DoctorOptions {
  output?: string;
  podCidr?: string;
}

export async function runDoctor(context: Context, options: DoctorOptions): Promise<void> {
  if (options.output !== undefined && options.output !== 'json')
    throw new UsageError(`-o must be "json", not "${options.output}"`);
  const groups = await Promise.all([
    look.lookAtRoot(),
    look.lookAtPrograms(),
    look.lookAtKernel(),
    look.lookAtCgroups(),
    look.lookAtNetwork(options.podCidr ?? '10.244.0.0/24'),
    look.lookAtLimits(context),
    look.lookAtPlugins(),
    look.lookAtDaemon(context),
  ]);
  const findings = groups.flat();
  context.out(
    options.output === 'json'
      ? `${JSON.stringify(findings, null, 2)}\n`
      : renderFindings(findings, context.paint),
  );
  if (findings.some((each) => each.state === 'fail')) throw new ExitWith(1);
}
