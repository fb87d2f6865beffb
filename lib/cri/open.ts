// A node whose Pods run under a container runtime of the machine: containerd, or any other that serves CRI v1.
// Assumes --runtime-endpoint was given: this folder, and gRPC with it, is loaded only then.
import type { NodePaths } from '../kernel/paths.ts';
import { CriConnection, CriError } from './connection.ts';
import { CriImages } from './images.ts';
import { CriRuntime } from './runtime.ts';

export interface OpenCri {
  readonly runtime: CriRuntime;
  readonly images: CriImages;
  /** `containerd://1.6.20` */
  readonly version: string;
}

export interface CriOptions {
  readonly endpoint: string;
  readonly paths: NodePaths;
  readonly warn: (message: string, error: unknown) => void;
}

const checkMs = 10_000;

/** @throws CriError when nobody answers there, or does not speak CRI v1 */
export async function openCri({ endpoint, paths, warn }: CriOptions): Promise<OpenCri> {
  const connection = await CriConnection.open(endpoint);
  try {
    const { runtimeName, runtimeVersion } = await connection.call('Version', {}, { timeoutMs: checkMs });
    const { status } = await connection.call('Status', {}, { timeoutMs: checkMs });
    const bad = status?.conditions.find((one) => one.type === 'RuntimeReady' && !one.status);
    if (bad)
      throw new CriError('RUNTIME_FAILED', `${runtimeName} is not ready: ${bad.message || bad.reason}`);
    const images = new CriImages(connection);
    const runtime = new CriRuntime({ connection, images, paths, warn });
    return { runtime, images, version: `${runtimeName}://${runtimeVersion}` };
  } catch (error) {
    connection.close();
    throw error;
  }
}
