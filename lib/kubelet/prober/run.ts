// Runs one probe once, from the node: a command in the container, or a question to the Pod's address.
// Assumes nothing is left when it is over: no process, no connection. The clients of HTTP and gRPC are loaded when first used.
// Source: kubelet's prober.go and pkg/probe.
import type { Probe } from '../../api/types.ts';
import type { RuntimeService } from '../../container/cri.ts';
import { ExecError } from '../../exec/errors.ts';
import { failure, type ProbeResult } from '../../probe/result.ts';
import { commandOf, type HandlerSubject, httpTarget, portOf } from '../handlers.ts';

/** @throws what kept it from being asked at all: that says nothing about the container */
export async function runProbe(
  runtime: RuntimeService,
  probe: Probe,
  subject: HandlerSubject,
): Promise<ProbeResult> {
  const { exec, httpGet, tcpSocket, grpc } = probe;
  const { container, podIP } = subject;
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  if (exec) return probeCommand(runtime, exec.command ?? [], { ...subject, timeoutMs });
  if (httpGet) {
    const { probeHttp } = await import('../../probe/http.ts');
    return probeHttp({ ...httpTarget(httpGet, subject), timeoutMs });
  }
  if (tcpSocket) {
    const { probeTcp } = await import('../../probe/tcp.ts');
    return probeTcp({ host: tcpSocket.host || podIP, port: portOf(tcpSocket.port, container), timeoutMs });
  }
  const { probeGrpc } = await import('../../probe/grpc.ts');
  return probeGrpc({ host: podIP, port: grpc?.port ?? 0, service: grpc?.service ?? '', timeoutMs });
}

const longestOutput = 10 * 1024;

async function probeCommand(
  runtime: RuntimeService,
  words: readonly string[],
  { container, containerId, timeoutMs }: HandlerSubject & { readonly timeoutMs: number },
): Promise<ProbeResult> {
  const argv = commandOf(words, container);
  try {
    const { exitCode, output } = await runtime.execSync(containerId, { argv, timeoutMs });
    const told = output.slice(0, longestOutput);
    return exitCode === 0 ? { outcome: 'success', output: told } : failure(told);
  } catch (error) {
    if (!(error instanceof ExecError) || error.code !== 'EXEC_TIMEOUT') throw error;
    return failure(
      `command timed out: ${JSON.stringify(argv.join(' '))} timed out after ${timeoutMs / 1000}s`,
    );
  }
}
