// Admission of Nodes by address: a machine whose address lies among those of Pods or Services cannot join.
// Assumes a join creates the Node with its InternalIP; what networks the machine is on, it checks itself at its start.
// O(ranges) a Node created.
import type { Admit } from '../api/admission.ts';
import { ApiError } from '../api/errors.ts';
import type { Node } from '../api/types.ts';
import { type ClusterRanges, hostFault } from './cluster-ranges.ts';

export const admitNodeAddress =
  ({ pods, services }: ClusterRanges): Admit =>
  ({ operation, resource, object }) => {
    if (resource !== 'nodes' || operation !== 'CREATE') return;
    const { metadata, status } = object as Node;
    const hosts = (status?.addresses ?? []).filter(({ type }) => type === 'InternalIP');
    const fault = hostFault({ pods: pods.map(({ cidr }) => cidr), services }, hosts);
    if (fault !== undefined)
      throw new ApiError('Conflict', `node ${JSON.stringify(metadata.name)}: ${fault}`);
  };
