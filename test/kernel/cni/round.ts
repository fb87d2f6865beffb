// What every attachment goes through, whatever its plugin and version: ADD, CHECK, STATUS, DEL twice, with and without a
// namespace, GC. Assumes a lab; looks at the answers' form, and leaves to the test what stands in between.
import type { Test } from 'tap';
import type { Answer, Conf, Lab } from './fixture.ts';

export interface Round {
  readonly lab: Lab;
  readonly conf: Conf;
  readonly netns: string;
  /** Between CHECK and DEL, with what ADD gave. */
  readonly meanwhile: (added: Answer['json']) => Promise<void> | void;
}

export async function round(t: Test, { lab, conf, netns, meanwhile }: Round): Promise<void> {
  const { cniVersion: version } = conf;
  const added = await lab.call('ADD', conf, { netns });
  t.ok(added.ok, 'ADD', { found: added.json });
  if (!added.ok) return;
  t.equal(added.json.cniVersion, version);
  const old = version < '1';
  for (const ip of added.json.ips ?? [])
    t.equal(ip.version, old ? (ip.address.includes(':') ? '6' : '4') : undefined, 'the form of the version');
  const withResult = { ...conf, prevResult: added.json };
  if (version !== '0.3.1') {
    const checked = await lab.call('CHECK', withResult, { netns });
    t.ok(checked.ok, 'CHECK', { found: checked.json });
  }
  await meanwhile(added.json);
  if (version === '1.1.0') {
    const status = await lab.call('STATUS', conf);
    t.ok(status.ok, 'STATUS', { found: status.json });
    const valid = [{ containerID: 'c1', ifname: 'eth0' }];
    t.ok((await lab.call('GC', { ...conf, 'cni.dev/valid-attachments': valid })).ok, 'GC spares the living');
    t.ok((await lab.call('CHECK', withResult, { netns })).ok);
  }
  t.ok((await lab.call('DEL', withResult, { netns })).ok, 'DEL');
  t.notOk(lab.ip(netns, 'link', 'show').some((link: { ifname: string }) => link.ifname === 'eth0'));
  for (const name of [netns, 'no-such-namespace', ''])
    t.ok((await lab.call('DEL', conf, { netns: name })).ok, 'DEL again, without result');
  if (version === '1.1.0')
    t.ok((await lab.call('GC', { ...conf, 'cni.dev/valid-attachments': [] })).ok, 'GC');
  t.strictSame(lab.leases(conf.name), [], 'no lease is left');
}

/** An ADD that fails at its end leaves nothing; `breakIt` says how to make it fail. */
export async function failedAdd(
  t: Test,
  task: { lab: Lab; conf: Conf; netns: string; code: number; msg?: RegExp },
): Promise<void> {
  const { lab, conf, netns, code, msg } = task;
  const links = lab.links();
  const inside = lab.ip(netns, 'link', 'show').length;
  t.match((await lab.call('ADD', conf, { netns })).json, { code, ...(msg ? { msg } : {}) });
  t.strictSame(lab.links(), links, 'no link is left on the machine');
  t.equal(lab.ip(netns, 'link', 'show').length, inside, 'nor in the container');
  t.strictSame(lab.leases(conf.name), [], 'nor a lease');
}
