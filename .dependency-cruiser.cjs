// The direction of imports of docs/architecture.md: each layer may import only what stands below it.
const layers = [
  'exec',
  'spdy',
  'kernel',
  'probe',
  'pki',
  'api',
  'store',
  'cni',
  'container',
  'sandbox',
  // Containers of another runtime: it takes the words, the images' names and a Pod's files and cgroup from below.
  'cri',
  'service-proxy',
  'node-network',
  'kubelet',
  'scheduler',
  'controllers',
  'apiserver',
  'lab',
];
const upward = layers.slice(0, -1).map((layer, at) => ({
  name: `lib-${layer}-imports-only-below`,
  comment: `lib/${layer} may import only ${layers.slice(0, at).join(', ') || 'nothing of ours'}`,
  severity: 'error',
  from: { path: `^lib/${layer}/` },
  to: { path: `^(lib/(${layers.slice(at + 1).join('|')})|cmd|cni-plugins)/` },
}));
module.exports = {
  forbidden: [
    ...upward,
    {
      name: 'plugins-know-no-kubelet',
      comment:
        'a CNI plugin is an executable of its own: kernel/, exec/ and the protocol types of lib/cni only',
      severity: 'error',
      from: { path: '^cni-plugins/' },
      to: { path: '^(cmd|lib/(?!exec|kernel|cni)[^/]+)/' },
    },
    {
      // The API's HTTP, that is: asking a container over HTTP, TCP or gRPC is lib/probe's, which knows nothing of the API.
      name: 'kubelet-knows-no-http',
      severity: 'error',
      // lib/cri speaks HTTP, too: to the streaming server of a container runtime, never to the API.
      from: { path: '^lib/(kubelet|sandbox|container|cni|kernel|store|exec)/' },
      to: {
        path: '^(fastify|ws|node:http|node:https|node:http2|http|https|http2)$|node_modules/(fastify|ws)/',
      },
    },
    {
      name: 'only-exec-starts-processes',
      severity: 'error',
      from: { path: '^(lib|cni-plugins|cmd)/', pathNot: '^lib/exec/' },
      to: { path: 'child_process|node_modules/(execa|@lydell/node-pty)/' },
    },
    { name: 'no-circles', severity: 'error', from: {}, to: { circular: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    parser: 'swc',
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.mjs', '.json'] },
  },
};
