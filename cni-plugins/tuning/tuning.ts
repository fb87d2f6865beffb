// CNI plugin tuning: kernel parameters of the container's network namespace, and settings of its interface. Chained.
// Assumes root, iproute2, coreutils and util-linux. An ADD is one process for each different sysctl value, and two runs of
// `ip` where the interface is changed. Invariant: former settings are on disk before the first is changed.
import { readFileSync } from 'node:fs';
import { CniError } from '../../lib/cni/errors.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import { isAbsent, KernelError, toKernelError } from '../../lib/kernel/errors.ts';
import { ipBatch, ipJson, netnsArgv } from '../../lib/kernel/ip.ts';
import { traceFromEnv } from '../../lib/kernel/trace.ts';
import { asCniError, undone, type Undo } from '../lib/attachment.ts';
import { needPrevious } from '../lib/chained.ts';
import { netnsWord } from '../lib/pod.ts';
import { ownCodes } from '../skel/codes.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { forgetFormer, forgetStale, loadFormer, saveFormer } from './backup.ts';
import { allowlist, checkAllowed, dataDirOf, type LinkSettings, parseConf, type Sysctl } from './conf.ts';
import { findFaults, formerOf, type IpLink, settingsLine, settingsOf, withSettings } from './plan.ts';

async function add(call: PluginCall): Promise<CniResult> {
  const conf = parseConf(call.conf, call);
  const result = needPrevious(call);
  checkAllowed(conf.sysctls, readAllowlist());
  const undo: Undo = [];
  try {
    await writeSysctls(conf.sysctls, call);
    const line = settingsLine(call.ifname, conf.link);
    if (line === undefined) return result;
    const now = await lookAt(call);
    if (!now)
      throw new KernelError('ENODEV', call.ifname, `${call.ifname}: no such interface in ${call.netns}`);
    saveFormer(conf.dataDir, call, formerOf(conf.link, now));
    undo.push(() => restore(conf.dataDir, call));
    await ipBatch([line], { netns: netnsWord(call.netns), exec: call.host.exec });
    return withSettings(result, call.ifname, conf.link);
  } catch (cause) {
    throw await undone(undo, asCniError(cause, call));
  }
}

function readAllowlist(): string | undefined {
  try {
    return readFileSync(allowlist, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw new CniError(5, `${allowlist}: ${messageOf(error)}`, { cause: error });
  }
}

/** One `tee` writes all keys that get the same value. (nsenter keeps our mounts: /proc/sys/net shows its own namespace.) */
async function writeSysctls(sysctls: readonly Sysctl[], call: PluginCall): Promise<void> {
  const byValue = Map.groupBy(sysctls, ({ value }) => value);
  for (const [value, group] of byValue) {
    const paths = group.map(({ path }) => path);
    try {
      await call.host.exec({ argv: netnsArgv(call.netns, ['tee', ...paths]), input: value });
    } catch (error) {
      throw toKernelError(error, `sysctl ${group.map(({ key }) => `${key}=${value}`).join(' ')}`);
    }
  }
  if (sysctls.length > 0)
    traceFromEnv()({
      tool: 'sysctl',
      netns: netnsWord(call.netns),
      lines: sysctls.map(({ path, value }) => `${path.slice('/proc/sys/'.length)}=${value}`),
    });
}

/** undefined: the namespace has no such interface. */
async function lookAt(call: PluginCall): Promise<LinkSettings | undefined> {
  const options = { netns: netnsWord(call.netns), exec: call.host.exec };
  try {
    const [link] = (await ipJson(['link', 'show', 'dev', call.ifname], options)) as [IpLink?];
    return link && settingsOf(link);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** Puts back what ADD changed, where there is still something to put it back on. */
async function restore(dataDir: string, call: PluginCall): Promise<void> {
  const former = loadFormer(dataDir, call);
  const line = former && settingsLine(call.ifname, former);
  if (line !== undefined && call.netns !== '') {
    try {
      await ipBatch([line], { netns: netnsWord(call.netns), exec: call.host.exec });
    } catch (error) {
      // An interface that goes with its container need not be as before; it must not keep the container from going.
      if (!isAbsent(error)) call.host.log?.(`tuning: ${call.ifname} is not as before: ${messageOf(error)}\n`);
    }
  }
  forgetFormer(dataDir, call);
}

const del = (call: PluginCall): Promise<void> => restore(dataDirOf(call.conf), call);

async function check(call: PluginCall): Promise<void> {
  const { link, sysctls } = parseConf(call.conf, call);
  needPrevious(call);
  const seen = {
    link: Object.keys(link).length > 0 ? await lookAt(call) : undefined,
    values: await readSysctls(sysctls, call),
  };
  const faults = findFaults({ ifname: call.ifname, link, sysctls }, seen);
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
}

/** A line each; a key that is not there has none, and `cat` says so. */
async function readSysctls(sysctls: readonly Sysctl[], call: PluginCall): Promise<string[]> {
  if (sysctls.length === 0) return [];
  const argv = netnsArgv(call.netns, ['cat', ...sysctls.map(({ path }) => path)]);
  try {
    return (await call.host.exec({ argv })).stdout.split('\n');
  } catch (error) {
    throw new CniError(ownCodes.checkFailed, messageOf(toKernelError(error, 'sysctl')), { cause: error });
  }
}

async function gc(call: PluginCall): Promise<void> {
  forgetStale(dataDirOf(call.conf), call.name, call.validAttachments);
}

async function status(call: PluginCall): Promise<void> {
  const { sysctls } = parseConf(call.conf, { args: {}, ifname: 'IFNAME' });
  checkAllowed(sysctls, readAllowlist());
}

export const tuning: Plugin = { type: 'tuning', add, del, check, status, gc };
