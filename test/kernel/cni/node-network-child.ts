// Runs inside a namespace of its own: makes and unmakes the node's network as podwired does. Arguments: verb, root, CIDR.
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { ensureNodeNetwork, removeNodeNetwork } from '../../../lib/node-network/node-network.ts';

const [verb, root = '', podCidr = ''] = process.argv.slice(2);
const paths = nodePaths(root);
if (verb === 'ensure') await ensureNodeNetwork({ podCidr, paths });
else await removeNodeNetwork({ paths });
