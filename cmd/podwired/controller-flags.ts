// Flags of the controllers, under kube-controller-manager's and kube-apiserver's names.
// Assumes every server of a cluster was given the same. Pure.
import { type Command, InvalidArgumentError } from 'commander';
import { defaultTolerationSeconds } from '../../lib/controllers/default-tolerations.ts';
import { controllerDefaults } from '../../lib/controllers/index.ts';

export interface ControllerFlags {
  /** Seconds of silence after which a node is lost. */
  readonly nodeMonitorGracePeriod?: number;
  /** Seconds. */
  readonly defaultNotReadyTolerationSeconds?: number;
  readonly defaultUnreachableTolerationSeconds?: number;
  /** Pods that have ended and are kept; 0: all. */
  readonly terminatedPodGcThreshold?: number;
}

const units: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600 };

/** `40s`, `5m`, or a number of seconds. */
export function seconds(text: string): number {
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?)(s|m|h)?$/.exec(text) ?? [];
  if (amount === undefined) throw new InvalidArgumentError('expected a time such as 40s or 5m');
  return Number(amount) * (units[unit] ?? 1);
}

function gracePeriod(text: string): number {
  const value = seconds(text);
  if (value < 2) throw new InvalidArgumentError('expected 2s or more: a node speaks four times in it');
  return value;
}

function count(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('expected a whole number, 0 or more');
  return Number(text);
}

export function addControllerFlags(program: Command): Command {
  const { notReady, unreachable } = defaultTolerationSeconds;
  return program
    .option(
      '--node-monitor-grace-period <time>',
      'silence after which a node is lost',
      gracePeriod,
      controllerDefaults.graceMs / 1000,
    )
    .option(
      '--default-not-ready-toleration-seconds <s>',
      'how long Pods stay on a node that is not ready',
      seconds,
      notReady,
    )
    .option(
      '--default-unreachable-toleration-seconds <s>',
      'how long Pods stay on a node that is lost',
      seconds,
      unreachable,
    )
    .option(
      '--terminated-pod-gc-threshold <n>',
      'Pods that have ended and are kept; 0: all',
      count,
      controllerDefaults.terminatedThreshold,
    );
}
