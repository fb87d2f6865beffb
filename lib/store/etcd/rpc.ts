// The part of etcd's v3 protocol that is used here, as protobuf's JSON description, and the same as types.
// Source: etcd's rpc.proto and kv.proto (3.4; field numbers never change). Fields that nobody reads are left out.
// int64 are texts on the way in (a lease id does not fit a number); revisions are turned into numbers once, in decode.ts.

interface Fields {
  readonly [name: string]: readonly [type: string, id: number, rule?: 'repeated'];
}

const message = (fields: Fields, choices: Readonly<Record<string, readonly string[]>> = {}) => ({
  fields: Object.fromEntries(
    Object.entries(fields).map(([name, [type, id, rule]]) => [
      name,
      rule ? { rule, type, id } : { type, id },
    ]),
  ),
  oneofs: Object.fromEntries(Object.entries(choices).map(([name, oneof]) => [name, { oneof: [...oneof] }])),
});

const header = { header: ['ResponseHeader', 1] } as const;

/** For proto-loader's fromJSON. */
export const protocol = {
  nested: {
    etcdserverpb: {
      nested: {
        ResponseHeader: message({ revision: ['int64', 3] }),
        KeyValue: message({
          key: ['bytes', 1],
          createRevision: ['int64', 2],
          modRevision: ['int64', 3],
          value: ['bytes', 5],
        }),
        RangeRequest: message({
          key: ['bytes', 1],
          rangeEnd: ['bytes', 2],
          limit: ['int64', 3],
          revision: ['int64', 4],
          keysOnly: ['bool', 8],
        }),
        RangeResponse: message({ ...header, kvs: ['KeyValue', 2, 'repeated'], more: ['bool', 3] }),
        PutRequest: message({ key: ['bytes', 1], value: ['bytes', 2], lease: ['int64', 3] }),
        PutResponse: message(header),
        DeleteRangeRequest: message({ key: ['bytes', 1], prevKv: ['bool', 3] }),
        DeleteRangeResponse: message({ ...header, prevKvs: ['KeyValue', 3, 'repeated'] }),
        RequestOp: message(
          {
            requestRange: ['RangeRequest', 1],
            requestPut: ['PutRequest', 2],
            requestDeleteRange: ['DeleteRangeRequest', 3],
          },
          { request: ['requestRange', 'requestPut', 'requestDeleteRange'] },
        ),
        ResponseOp: message(
          {
            responseRange: ['RangeResponse', 1],
            responsePut: ['PutResponse', 2],
            responseDeleteRange: ['DeleteRangeResponse', 3],
          },
          { response: ['responseRange', 'responsePut', 'responseDeleteRange'] },
        ),
        Compare: {
          ...message(
            {
              result: ['CompareResult', 1],
              target: ['CompareTarget', 2],
              key: ['bytes', 3],
              modRevision: ['int64', 6],
            },
            { targetUnion: ['modRevision'] },
          ),
          nested: {
            CompareResult: { values: { EQUAL: 0 } },
            CompareTarget: { values: { VERSION: 0, CREATE: 1, MOD: 2, VALUE: 3 } },
          },
        },
        TxnRequest: message({
          compare: ['Compare', 1, 'repeated'],
          success: ['RequestOp', 2, 'repeated'],
          failure: ['RequestOp', 3, 'repeated'],
        }),
        TxnResponse: message({ ...header, succeeded: ['bool', 2], responses: ['ResponseOp', 3, 'repeated'] }),
        CompactionRequest: message({ revision: ['int64', 1] }),
        CompactionResponse: message(header),
        Event: {
          ...message({ type: ['EventType', 1], kv: ['KeyValue', 2], prevKv: ['KeyValue', 3] }),
          nested: { EventType: { values: { PUT: 0, DELETE: 1 } } },
        },
        WatchCreateRequest: message({
          key: ['bytes', 1],
          rangeEnd: ['bytes', 2],
          startRevision: ['int64', 3],
          prevKv: ['bool', 6],
        }),
        WatchRequest: message(
          { createRequest: ['WatchCreateRequest', 1] },
          { requestUnion: ['createRequest'] },
        ),
        WatchResponse: message({
          ...header,
          created: ['bool', 3],
          canceled: ['bool', 4],
          compactRevision: ['int64', 5],
          cancelReason: ['string', 6],
          events: ['Event', 11, 'repeated'],
        }),
        LeaseGrantRequest: message({ TTL: ['int64', 1] }),
        LeaseGrantResponse: message({ ...header, ID: ['int64', 2] }),
        KV: {
          methods: {
            Range: { requestType: 'RangeRequest', responseType: 'RangeResponse' },
            Put: { requestType: 'PutRequest', responseType: 'PutResponse' },
            Txn: { requestType: 'TxnRequest', responseType: 'TxnResponse' },
            Compact: { requestType: 'CompactionRequest', responseType: 'CompactionResponse' },
          },
        },
        Watch: {
          methods: {
            Watch: {
              requestType: 'WatchRequest',
              requestStream: true,
              responseType: 'WatchResponse',
              responseStream: true,
            },
          },
        },
        Lease: {
          methods: {
            LeaseGrant: { requestType: 'LeaseGrantRequest', responseType: 'LeaseGrantResponse' },
          },
        },
      },
    },
  },
};

export interface ResponseHeader {
  readonly revision: string;
}
export interface KeyValue {
  readonly key: Buffer;
  readonly createRevision: string;
  readonly modRevision: string;
  readonly value: Buffer;
}
export interface RangeRequest {
  readonly key: Buffer;
  readonly rangeEnd?: Buffer;
  readonly limit?: number;
  readonly revision?: number;
  readonly keysOnly?: boolean;
}
export interface RangeResponse {
  readonly header: ResponseHeader;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
}
export interface PutRequest {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly lease?: string;
}
export interface PutResponse {
  readonly header: ResponseHeader;
}
export type RequestOp =
  | { readonly requestRange: RangeRequest }
  | { readonly requestPut: PutRequest }
  | { readonly requestDeleteRange: { readonly key: Buffer; readonly prevKv: boolean } };
export interface ResponseOp {
  readonly responseRange?: RangeResponse | null;
  readonly responseDeleteRange?: { readonly prevKvs: readonly KeyValue[] } | null;
}
export interface Compare {
  readonly result: 'EQUAL';
  readonly target: 'MOD';
  readonly key: Buffer;
  /** 0: the key is not there. */
  readonly modRevision: number;
}
export interface TxnRequest {
  readonly compare: readonly Compare[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}
export interface TxnResponse {
  readonly header: ResponseHeader;
  readonly succeeded: boolean;
  readonly responses: readonly ResponseOp[];
}
export interface RemoteEvent {
  readonly type: 'PUT' | 'DELETE';
  readonly kv: KeyValue;
  readonly prevKv?: KeyValue | null;
}
export interface WatchResponse {
  readonly header: ResponseHeader | null;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: string;
  readonly cancelReason: string;
  readonly events: readonly RemoteEvent[];
}

/** Method → its service, request and response. */
export interface Calls {
  Range: { service: 'KV'; request: RangeRequest; response: RangeResponse };
  Put: { service: 'KV'; request: PutRequest; response: PutResponse };
  Txn: { service: 'KV'; request: TxnRequest; response: TxnResponse };
  Compact: { service: 'KV'; request: { revision: number }; response: PutResponse };
  LeaseGrant: { service: 'Lease'; request: { TTL: number }; response: { ID: string } };
}
