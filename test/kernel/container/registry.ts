// A real registry on loopback that lets in one user, for tests: Debian's docker-registry, its files in a temporary folder.
// Assumes the program is installed; it is ended, and its folder removed, with the test.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { findProgram } from '../../../lib/exec/find-program.ts';
import { run } from '../../../lib/exec/exec.ts';
import { openSession } from '../../../lib/exec/session.ts';
import { freePorts } from '../../free-ports.ts';
import { busyboxArchive } from './fixture.ts';

export const user = { username: 'alice', password: 'open:sesame' };
/** Of that user; bcrypt, as the registry wants it. */
const htpasswd = 'alice:$2y$04$Ht451NndMo6WhoK01Epq0.CrEiPGPku2PncbZuaaV8h6eSGgnXAxy\n';

export const noRegistry = findProgram('docker-registry') ? false : 'docker-registry is not installed';

export interface TestRegistry {
  /** 127.0.0.1:PORT */
  readonly host: string;
  /** Makes an image and pushes it; gives the digest of its manifest. */
  push(name: string, config: object): Promise<string>;
  /** An index of such images, one a platform. */
  pushIndex(name: string, manifests: Readonly<Record<string, string>>): Promise<void>;
}

export async function startRegistry(t: Test): Promise<TestRegistry> {
  const dir = mkdtempSync(join(tmpdir(), 'podwire-registry-'));
  const [port] = await freePorts(1);
  const host = `127.0.0.1:${port}`;
  mkdirSync(join(dir, 'data'));
  writeFileSync(join(dir, 'htpasswd'), htpasswd);
  const config = {
    version: 0.1,
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: join(dir, 'data') } },
    http: { addr: host },
    auth: { htpasswd: { realm: 'test', path: join(dir, 'htpasswd') } },
  };
  writeFileSync(join(dir, 'config.yml'), JSON.stringify(config)); // JSON is YAML
  const argv = [findProgram('docker-registry')!, 'serve', join(dir, 'config.yml')] as const;
  const server = await openSession({ argv, tty: false, stdin: false });
  t.teardown(async () => {
    server.kill();
    await server.exit;
    rmSync(dir, { recursive: true, force: true });
  });
  const headers = { authorization: `Basic ${btoa(`${user.username}:${user.password}`)}` };
  const answers = (): Promise<boolean> =>
    fetch(`http://${host}/v2/`, { headers }).then(
      ({ ok }) => ok,
      () => false,
    );
  for (const end = Date.now() + 60_000; !(await answers()); await new Promise((done) => setTimeout(done, 20)))
    if (Date.now() > end) throw new Error('the registry does not answer');
  return {
    host,
    async push(name, imageConfig) {
      const archive = join(dir, 'image.tar');
      const digest = join(dir, 'digest');
      rmSync(archive, { force: true });
      busyboxArchive(archive, imageConfig);
      const to = ['--dest-tls-verify=false', '--dest-creds', `${user.username}:${user.password}`];
      const source = `docker-archive:${archive}`;
      await run({
        argv: [
          'skopeo',
          '--insecure-policy',
          'copy',
          '--format',
          'oci',
          '--digestfile',
          digest,
          ...to,
          source,
          `docker://${host}/${name}`,
        ],
      });
      return (await run({ argv: ['cat', digest] })).stdout.trim();
    },
    async pushIndex(name, manifests) {
      const [repository, tag] = name.split(':');
      const accept =
        'application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json';
      const list = await Promise.all(
        Object.entries(manifests).map(async ([architecture, digest]) => {
          const url = `http://${host}/v2/${repository}/manifests/${digest}`;
          const answer = await fetch(url, { headers: { ...headers, accept } });
          const size = (await answer.arrayBuffer()).byteLength;
          const mediaType = answer.headers.get('content-type');
          return { mediaType, size, digest, platform: { architecture, os: 'linux' } };
        }),
      );
      const mediaType = 'application/vnd.oci.image.index.v1+json';
      const body = JSON.stringify({ schemaVersion: 2, mediaType, manifests: list });
      const put = { method: 'PUT', headers: { ...headers, 'content-type': mediaType }, body };
      const answer = await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, put);
      if (!answer.ok) throw new Error(`index: ${answer.status} ${await answer.text()}`);
    },
  };
}
