// `npm run test:vm [FILE …]`: podwire in VMs with a kernel of their own. Prepares packages, image and podwire's disk,
// then runs the test files, one after the other, each in namespaces of its own.
// All of it once takes some minutes; the image is kept.
import { join } from 'node:path';
import { prepareHost, vmPackages } from './host-packages.ts';
import { ensureImage } from './image.ts';
import { labEnv } from './lab.ts';
import { makePayload } from './payload.ts';
import { filesOf, runFile, runTests, say } from './runner.ts';

const chosen = process.argv.slice(2);
const why = await prepareHost(vmPackages, say);
if (why !== undefined) say(`VM tests are skipped: ${why}`);
else {
  const image = await ensureImage(say);
  await runTests(async (folder) => {
    const payload = join(folder, 'podwire.img');
    await makePayload(payload, join(folder, 'podwire'));
    say("podwire's disk is made");
    const env = { [labEnv.image]: image, [labEnv.payload]: payload, [labEnv.folder]: folder };
    for (const file of filesOf('test/vm', chosen)) await runFile(file, env);
  });
}
