// `npm run test:vagrant`: the real `vagrant up` of vagrant/Vagrantfile with libvirt, whose VMs are emulated. Prepares packages,
// image and box, then runs the test in namespaces of its own: nothing of libvirt is started on the machine itself.
// From nothing three to four minutes, with box and image kept under two on a quiet machine.
import { prepareHost, vagrantPackages } from '../vm/host-packages.ts';
import { ensureImage } from '../vm/image.ts';
import { filesOf, runFile, runTests, say } from '../vm/runner.ts';
import { ensureBox } from './box.ts';
import { vagrantEnv } from './vagrant.ts';

const chosen = process.argv.slice(2);
const why = await prepareHost(vagrantPackages, say);
if (why !== undefined) say(`Vagrant tests are skipped: ${why}`);
else {
  const image = await ensureImage(say);
  await runTests(async (folder) => {
    const box = await ensureBox(image, say);
    const env = { [vagrantEnv.box]: box, [vagrantEnv.folder]: folder };
    for (const file of filesOf('test/vagrant', chosen)) await runFile(file, env);
  });
}
