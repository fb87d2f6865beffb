// The streams of this process carried to a program in a container and back, with its terminal, until it ends.
// Assumes lib/api/http/exec.ts for the protocol. Bytes pass through as they come; each side waits for the other.
import type { RemoteExec } from '../../lib/api/http/exec.ts';

/** Carries the streams until the command ends; gives its exit code. */
export async function carrySession(
  remote: RemoteExec,
  how: { readonly stdin: boolean; readonly tty: boolean },
): Promise<number> {
  const undo: Array<() => void> = [];
  remote.onStdout(writerTo(process.stdout, remote));
  remote.onStderr(writerTo(process.stderr, remote));
  if (how.tty) undo.push(rawTerminal(remote));
  if (how.stdin) undo.push(sendStdin(remote));
  try {
    return await remote.exit;
  } finally {
    for (const each of undo) each();
  }
}

/** Whoever reads our output slowly makes the far side wait. */
function writerTo(out: NodeJS.WriteStream, remote: RemoteExec): (chunk: Buffer) => void {
  return (chunk) => {
    if (out.write(chunk)) return;
    remote.pauseOutput();
    out.once('drain', () => remote.resumeOutput());
  };
}

function rawTerminal(remote: RemoteExec): () => void {
  const sendSize = (): void => remote.resize(process.stdout.columns ?? 80, process.stdout.rows ?? 24);
  process.stdin.setRawMode(true);
  process.stdout.on('resize', sendSize);
  sendSize();
  return () => {
    process.stdout.off('resize', sendSize);
    process.stdin.setRawMode(false);
  };
}

function sendStdin(remote: RemoteExec): () => void {
  const onData = async (chunk: Buffer): Promise<void> => {
    process.stdin.pause(); // until there is room for more on the way
    await remote.writeStdin(chunk);
    process.stdin.resume();
  };
  const onEnd = (): void => remote.closeStdin();
  process.stdin.on('data', onData);
  process.stdin.once('end', onEnd);
  return () => {
    process.stdin.off('data', onData);
    process.stdin.off('end', onEnd);
    process.stdin.pause();
    // A terminal or a pipe that stays open must not keep the process alive.
    (process.stdin as NodeJS.ReadStream & { unref?: () => void }).unref?.();
  };
}
