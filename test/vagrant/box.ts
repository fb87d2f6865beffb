// The Vagrant box of the test: the VM tests' Debian as a libvirt box that boots its kernel directly and needs no network.
// Assumes the image is made. What provisioning would fetch from the internet is in it: packages, Node, node_modules.
// Made in some 15 s, then kept under a hash of what it is made from.
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { run } from '../../lib/exec/exec.ts';
import { cacheFolder, imageIn, makeDisk } from '../vm/image.ts';

const repo = join(import.meta.dirname, '../..');
const diskGiB = 6;

/** Where vagrant/Vagrantfile puts podwire in a node. */
const installed = 'opt/podwire';

/** Gives the path of the box, and makes it when it is not there. */
export async function ensureBox(imageFolder: string, say: (text: string) => void): Promise<string> {
  const hash = createHash('sha256').update(basename(imageFolder));
  for (const file of [import.meta.filename, join(repo, 'package-lock.json')]) hash.update(readFileSync(file));
  const box = join(cacheFolder(), `box-${hash.digest('hex').slice(0, 12)}`);
  if (!existsSync(box)) {
    const began = performance.now();
    const making = join(cacheFolder(), `making-${process.pid}-box`);
    mkdirSync(making, { mode: 0o700 });
    try {
      await makeBox(imageFolder, making);
      for (const old of globSync(join(cacheFolder(), 'box-*'))) rmSync(old, { recursive: true });
      renameSync(making, box);
    } finally {
      rmSync(making, { recursive: true, force: true });
    }
    say(`box: made in ${((performance.now() - began) / 1000).toFixed(0)} s`);
  }
  return join(box, 'podwire.box');
}

async function makeBox(imageFolder: string, folder: string): Promise<void> {
  const image = imageIn(imageFolder);
  const root = join(folder, 'root');
  await run({ argv: ['cp', '-a', '--reflink=auto', image.root, root], timeoutMs: 120_000 });
  await asVagrantNode(root);
  const disk = join(folder, 'disk.img');
  await makeDisk({ from: root, disk, bytes: diskGiB * 1024 ** 3, label: 'root' });
  await run({
    argv: ['qemu-img', 'convert', '-O', 'qcow2', disk, join(folder, 'box.img')],
    timeoutMs: 120_000,
  });
  copyFileSync(image.kernel, join(folder, 'vmlinuz'));
  copyFileSync(image.initrd, join(folder, 'initrd'));
  const metadata = { provider: 'libvirt', format: 'qcow2', virtual_size: diskGiB };
  writeFileSync(join(folder, 'metadata.json'), JSON.stringify(metadata));
  writeFileSync(join(folder, 'Vagrantfile'), boxVagrantfile);
  writeFileSync(join(folder, 'qemu'), qemuWrapper, { mode: 0o755 });
  const parts = ['metadata.json', 'Vagrantfile', 'box.img', 'vmlinuz', 'initrd', 'qemu'];
  await run({
    argv: ['tar', '-C', folder, '-cf', join(folder, 'podwire.box'), ...parts],
    timeoutMs: 120_000,
  });
  for (const name of [...parts, 'disk.img', 'root']) rmSync(join(folder, name), { recursive: true });
}

/** Turns the VM tests' root into what Vagrant expects of a box, with all that provisioning would otherwise install. */
async function asVagrantNode(root: string): Promise<void> {
  const inRoot = (...argv: string[]) => run({ argv: ['chroot', root, ...argv] });
  const write = (path: string, text: string, mode = 0o644): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text, { mode });
  };
  await inRoot('useradd', '--create-home', '--shell', '/bin/bash', 'vagrant');
  write('etc/sudoers.d/vagrant', 'vagrant ALL=(ALL) NOPASSWD: ALL\n', 0o440);
  write('home/vagrant/.ssh/authorized_keys', readFileSync(insecureKey(), 'utf8'), 0o600);
  await inRoot('chown', '-R', 'vagrant:vagrant', '/home/vagrant/.ssh');
  write('etc/fstab', '/dev/vda / ext4 noatime 0 1\n');
  write('etc/machine-id', ''); // each node takes its own from the VM's UUID
  write(
    'etc/systemd/network/99-eth0.network',
    '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n[DHCPv4]\nClientIdentifier=mac\n',
  );
  mkdirSync(join(root, installed), { recursive: true });
  // An old dist/ serves, too: rsync sends what differs.
  const made = ['node_modules', 'dist', '.tap']
    .map((name) => join(repo, name))
    .filter((path) => existsSync(path));
  await run({ argv: ['cp', '-a', '--reflink=auto', ...made, join(root, installed)], timeoutMs: 180_000 });
  await inRoot('chown', '-R', 'root:root', `/${installed}`);
  symlinkSync(`/${installed}/node_modules/node/bin/node`, join(root, 'usr/local/bin/node'));
}

/** The key that every box is reached by at first; Vagrant replaces it. */
function insecureKey(): string {
  const [found] = globSync([
    '/usr/share/rubygems-integration/all/gems/vagrant-*/keys/vagrant.pub',
    '/opt/vagrant/embedded/gems/**/keys/vagrant.pub',
  ]);
  if (!found) throw new Error("Vagrant's public key vagrant.pub is not where its package puts it");
  return found;
}

/** What is special about emulation is the box's affair: vagrant/Vagrantfile knows nothing of it. */
const boxVagrantfile = `Vagrant.configure("2") do |config|
  config.vm.guest = :debian
  config.vm.provider :libvirt do |v|
    v.driver = "qemu"
    v.cpu_mode = "maximum"
    v.machine_type = "q35"
    v.emulator_path = File.expand_path("qemu", __dir__)
    v.kernel = File.expand_path("vmlinuz", __dir__)
    v.initrd = File.expand_path("initrd", __dir__)
    v.cmd_line = "console=ttyS0 quiet net.ifnames=0 root=/dev/vda mitigations=off"
    v.disk_bus = "virtio"
    v.nic_model_type = "virtio"
    v.graphics_type = "none"
    v.video_type = "none"
  end
end
`;

/** qemu with a translation buffer of its own choice: the default takes a gigabyte for each VM. */
const qemuWrapper = `#!/bin/bash
args=()
for arg in "$@"; do
  [ "$arg" = tcg ] && arg=tcg,thread=multi,tb-size=512
  args+=("$arg")
done
exec qemu-system-x86_64 "\${args[@]}"
`;
