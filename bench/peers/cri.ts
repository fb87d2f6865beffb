// A client of the CRI over a unix socket: one connection, kept open, as a kubelet keeps it.
// Assumes cri.proto beside this file. A call costs about 1 ms of this process.
import { fileURLToPath } from 'node:url';
import {
  type Client,
  credentials,
  loadPackageDefinition,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { PodwireError } from '../../lib/exec/errors.ts';

const callTimeoutMs = 120_000;

export interface CriClient {
  runtime(method: string, request: object): Promise<CriReply>;
  image(method: string, request: object): Promise<CriReply>;
  close(): void;
}

/** What the bench reads of any reply. */
export interface CriReply {
  readonly runtime_name?: string;
  readonly runtime_version?: string;
  readonly pod_sandbox_id?: string;
  readonly container_id?: string;
  readonly image?: { readonly id: string } | null;
  readonly status?: {
    readonly state?: string;
    readonly network?: { readonly ip: string };
    readonly conditions?: ReadonlyArray<{ type: string; status: boolean; message: string }>;
  };
}

type Call = (
  request: object,
  options: { deadline: number },
  done: (error: Error | null, reply: CriReply) => void,
) => void;

export function connectCri(socket: string): CriClient {
  const proto = loadSync(fileURLToPath(new URL('cri.proto', import.meta.url)), {
    keepCase: true,
    longs: Number,
    enums: String,
    defaults: true,
  });
  const { v1 } = loadPackageDefinition(proto).runtime as unknown as {
    v1: { RuntimeService: ServiceClientConstructor; ImageService: ServiceClientConstructor };
  };
  const target = `unix://${socket}`;
  const runtime = new v1.RuntimeService(target, credentials.createInsecure());
  const image = new v1.ImageService(target, credentials.createInsecure());
  return {
    runtime: (method, request) => call(runtime, method, request),
    image: (method, request) => call(image, method, request),
    close: () => {
      runtime.close();
      image.close();
    },
  };
}

function call(client: Client, method: string, request: object): Promise<CriReply> {
  const perform = (client as unknown as Record<string, Call>)[method];
  return new Promise((resolve, reject) => {
    perform!.call(client, request, { deadline: Date.now() + callTimeoutMs }, (error, reply) => {
      if (error) reject(new PodwireError('CRI_CALL', `CRI ${method}: ${error.message}`, { cause: error }));
      else resolve(reply);
    });
  });
}
