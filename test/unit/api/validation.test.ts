// Every rule with the very text a person gets.
import t from 'tap';
import { defaultPodSpec } from '../../../lib/api/defaulting.ts';
import type { FieldError } from '../../../lib/api/field-errors.ts';
import { fieldErrorsToApiError } from '../../../lib/api/field-errors.ts';
import { unsupportedAnnotations, unsupportedFields } from '../../../lib/api/supported.ts';
import type { Event, Node, ObjectMeta, PodSpec } from '../../../lib/api/types.ts';
import {
  eventMetaRules,
  namespaceMetaRules,
  nodeMetaRules,
  podMetaRules,
  validateEvent,
  validateMeta,
  validateMetaUpdate,
  validateNode,
} from '../../../lib/api/validation/validation.ts';
import { validatePodSpec, validatePodUpdate } from '../../../lib/api/validation/pod.ts';

const texts = (errors: readonly FieldError[]): string[] =>
  errors.map(({ field, message }) => `${field}: ${message}`);
const container = (more: object = {}): object => ({ name: 'a', image: 'i', ...more });
const withContainer = (more: object): object => ({ containers: [container(more)] });
const label =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name' or '123-abc')";
const subdomain =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')";
const configKey =
  "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name')";
const sleepHook = (seconds: number) => ({ sleep: { seconds } });
const later = 'Forbidden: not supported by podwire 0.1 yet';

const specs: { name: string; spec: object; says: string[] }[] = [
  { name: 'least', spec: withContainer({}), says: [] },
  { name: 'no containers', spec: { containers: [] }, says: ['spec.containers: Required value'] },
  {
    name: 'container names',
    spec: { containers: [container(), container(), container({ name: 'A/b' }), container({ name: '' })] },
    says: [
      'spec.containers[1].name: Duplicate value: "a"',
      `spec.containers[2].name: Invalid value: "A/b": ${label}`,
      'spec.containers[3].name: Required value',
    ],
  },
  {
    name: 'no image',
    spec: withContainer({ image: '' }),
    says: ['spec.containers[0].image: Required value'],
  },
  {
    name: 'image with spaces',
    spec: withContainer({ image: ' i' }),
    says: ['spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace'],
  },
  {
    name: 'an image that would be an option of a tool',
    spec: withContainer({ image: '--help' }),
    says: [
      'spec.containers[0].image: Invalid value: "--help": must be an image reference like docker.io/library/nginx:1.27',
    ],
  },
  {
    name: 'NUL',
    spec: withContainer({ command: ['a\0b'], args: ['ok', '\0'], workingDir: '/\0' }),
    says: [
      'spec.containers[0].workingDir: Invalid value: "/\\u0000": must not contain a NUL',
      'spec.containers[0].command[0]: Invalid value: "a\\u0000b": must not contain a NUL',
      'spec.containers[0].args[1]: Invalid value: "\\u0000": must not contain a NUL',
    ],
  },
  {
    name: 'ports',
    spec: withContainer({
      ports: [
        { containerPort: 70000 },
        { containerPort: -1 },
        { containerPort: 0 },
        { containerPort: 1, name: 'x' },
        { containerPort: 2, name: 'x' },
        { containerPort: 3, name: 'TOO' },
      ],
    }),
    says: [
      'spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive',
      'spec.containers[0].ports[1].containerPort: Invalid value: -1: must be between 1 and 65535, inclusive',
      'spec.containers[0].ports[2].containerPort: Required value',
      'spec.containers[0].ports[4].name: Duplicate value: "x"',
      'spec.containers[0].ports[5].name: Invalid value: "TOO": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)',
    ],
  },
  {
    name: 'two containers may not take one host port',
    spec: {
      containers: [
        container({ ports: [{ containerPort: 80, hostPort: 8080 }] }),
        container({
          name: 'b',
          ports: [
            { containerPort: 81, hostPort: 8080 },
            { containerPort: 82, hostPort: 8080, protocol: 'UDP' },
          ],
        }),
      ],
    },
    says: ['spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//8080"'],
  },
  {
    name: "the machine's own network",
    spec: {
      hostNetwork: true,
      containers: [container({ ports: [{ containerPort: 80 }, { containerPort: 81, hostPort: 82 }] })],
    },
    says: [
      'spec.containers[0].ports[1].containerPort: Invalid value: 81: must match `hostPort` when `hostNetwork` is true',
    ],
  },
  {
    name: 'environment',
    spec: withContainer({
      env: [
        { name: '', value: 'x' },
        { name: 'A=B' },
        { name: 'A', value: 'x', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
        { name: 'B', valueFrom: {} },
        { name: 'C', valueFrom: { fieldRef: { fieldPath: 'spec.containers' } } },
        { name: 'D', valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
        { name: 'E', valueFrom: { fieldRef: { fieldPath: 'metadata.name', apiVersion: 'v2' } } },
        { name: 'F', valueFrom: { fieldRef: { fieldPath: 'status.hostIPs' } } },
        { name: 'G', valueFrom: { resourceFieldRef: { resource: 'limits.cpu', divisor: '1k' } } },
        { name: 'H', valueFrom: { resourceFieldRef: { resource: 'limits.gpu' } } },
        { name: 'I', valueFrom: { configMapKeyRef: { name: '', key: '../x' } } },
        { name: 'J', valueFrom: { secretKeyRef: { name: 'S', key: '' } } },
        { name: 'K', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
      ],
      envFrom: [
        {},
        { configMapRef: { name: 'c' }, secretRef: { name: 's' } },
        { prefix: 'a=', secretRef: { name: '' } },
        { prefix: 'P_', configMapRef: { name: 'c', optional: true } },
      ],
    }),
    says: [
      'spec.containers[0].env[0].name: Required value',
      'spec.containers[0].env[1].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than \'=\'',
      'spec.containers[0].env[2].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
      'spec.containers[0].env[3].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`',
      'spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.containers": supported values: "metadata.annotations[\'<KEY>\']", "metadata.labels[\'<KEY>\']", "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"',
      'spec.containers[0].env[6].valueFrom.fieldRef.apiVersion: Unsupported value: "v2": supported values: "v1"',
      'spec.containers[0].env[8].valueFrom.resourceFieldRef.divisor: Unsupported value: "1k": supported values: "1m", "1"',
      'spec.containers[0].env[9].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gpu": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"',
      'spec.containers[0].env[10].valueFrom.configMapKeyRef.name: Required value',
      `spec.containers[0].env[10].valueFrom.configMapKeyRef.key: Invalid value: "../x": ${configKey}`,
      `spec.containers[0].env[11].valueFrom.secretKeyRef.name: Invalid value: "S": ${subdomain}`,
      'spec.containers[0].env[11].valueFrom.secretKeyRef.key: Required value',
      'spec.containers[0].envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or `secretRef`',
      'spec.containers[0].envFrom[1]: Invalid value: "": may not have more than one field specified at a time',
      'spec.containers[0].envFrom[2].prefix: Invalid value: "a=": a valid environment variable name must consist only of printable ASCII characters other than \'=\'',
      'spec.containers[0].envFrom[2].secretRef.name: Required value',
    ],
  },
  {
    name: 'mounts',
    spec: {
      containers: [
        container({
          volumeMounts: [
            { name: 'v', mountPath: '/a' },
            { name: 'v', mountPath: '/a' },
            { name: 'nope', mountPath: '/b' },
            { name: 'v', mountPath: '/c/../../etc' },
            { name: 'v', mountPath: 'relative' },
            { name: 'v', mountPath: '/d', mountPropagation: 'Bidirectional' },
            { name: 'v', mountPath: '/e', subPath: '../x' },
            { name: '', mountPath: '' },
            { name: 'v', mountPath: '/f', subPath: 'a', subPathExpr: '/$(B)' },
            { name: 'v', mountPath: '/g', recursiveReadOnly: 'Yes' },
            { name: 'v', mountPath: '/h', recursiveReadOnly: 'Enabled', mountPropagation: 'HostToContainer' },
            {
              ...{ name: 'v', mountPath: '/i', readOnly: true },
              ...{ recursiveReadOnly: 'IfPossible', subPath: 'a/b' },
            },
          ],
        }),
      ],
      volumes: [{ name: 'v', emptyDir: {} }],
    },
    says: [
      'spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique',
      'spec.containers[0].volumeMounts[2].name: Not found: "nope"',
      'spec.containers[0].volumeMounts[3].mountPath: Invalid value: "/c/../../etc": must not contain \'..\'',
      'spec.containers[0].volumeMounts[4].mountPath: Invalid value: "relative": must be an absolute path',
      'spec.containers[0].volumeMounts[5].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers',
      'spec.containers[0].volumeMounts[6].subPath: Invalid value: "../x": must not contain \'..\'',
      'spec.containers[0].volumeMounts[7].name: Required value',
      'spec.containers[0].volumeMounts[7].mountPath: Required value',
      'spec.containers[0].volumeMounts[8].subPathExpr: Invalid value: "/$(B)": must be a relative path',
      'spec.containers[0].volumeMounts[8].subPathExpr: Invalid value: "/$(B)": subPathExpr and subPath are mutually exclusive',
      'spec.containers[0].volumeMounts[9].recursiveReadOnly: Unsupported value: "Yes": supported values: "Disabled", "Enabled", "IfPossible"',
      'spec.containers[0].volumeMounts[10].recursiveReadOnly: Forbidden: may only be specified when readOnly is true',
      'spec.containers[0].volumeMounts[10].recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified',
    ],
  },
  {
    name: 'resources',
    spec: withContainer({
      resources: {
        limits: { cpu: '100m', memory: '-1', 'nvidia.com/gpu': 1, 'hugepages-1Gi': '1500Mi' },
        requests: { cpu: '200m', 'hugepages-2Mi': '2Mi', 'hugepages-1Gi': '2Gi' },
      },
    }),
    says: [
      'spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0',
      'spec.containers[0].resources.limits[hugepages-1Gi]: Invalid value: "1500Mi": must be a multiple of one page of 1Gi',
      'spec.containers[0].resources.requests: Invalid value: "200m": must be less than or equal to cpu limit of 100m',
      'spec.containers[0].resources.requests[hugepages-1Gi]: Invalid value: "2Gi": must be equal to hugepages-1Gi limit of 1500Mi',
      'spec.containers[0].resources.limits[hugepages-2Mi]: Required value: must be set: huge pages cannot be overcommitted',
      `spec.containers[0].resources.limits[nvidia.com/gpu]: ${later}`,
      `spec.containers[0].resources.requests[nvidia.com/gpu]: ${later}`,
    ],
  },
  {
    name: 'capabilities in small letters, as runtimes take them',
    spec: withContainer({ securityContext: { capabilities: { add: ['net_bind_service'], drop: ['all'] } } }),
    says: [],
  },
  {
    name: 'security of a container',
    spec: withContainer({
      securityContext: {
        runAsUser: -1,
        capabilities: { add: ['net admin', 'SYS_ADMIN'] },
        privileged: true,
        allowPrivilegeEscalation: false,
        seccompProfile: { type: 'Localhost', localhostProfile: 'x' },
        procMount: 'Unmasked',
      },
    }),
    says: [
      'spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive',
      'spec.containers[0].securityContext.capabilities.add[0]: Invalid value: "net admin": must be a capability like NET_ADMIN, or ALL',
      'spec.containers[0].securityContext: Invalid value: {"runAsUser":-1,"capabilities":{"add":["net admin","SYS_ADMIN"]},"privileged":true,"allowPrivilegeEscalation":false,"seccompProfile":{"type":"Localhost","localhostProfile":"x"},"procMount":"Unmasked"}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true',
      'spec.containers[0].securityContext: Invalid value: {"runAsUser":-1,"capabilities":{"add":["net admin","SYS_ADMIN"]},"privileged":true,"allowPrivilegeEscalation":false,"seccompProfile":{"type":"Localhost","localhostProfile":"x"},"procMount":"Unmasked"}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN',
      'spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`',
    ],
  },
  {
    name: 'seccomp profiles',
    spec: {
      ...withContainer({
        securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: '../x' } },
      }),
      securityContext: { seccompProfile: { type: 'RuntimeDefault', localhostProfile: 'x' } },
      initContainers: [{ name: 'i', image: 'i', securityContext: { seccompProfile: { type: 'Localhost' } } }],
    },
    says: [
      'spec.initContainers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost',
      'spec.containers[0].securityContext.seccompProfile.localhostProfile: Invalid value: "../x": must not contain \'..\'',
      'spec.securityContext.seccompProfile.localhostProfile: Invalid value: "x": can only be set when seccomp type is Localhost',
    ],
  },
  {
    name: 'volumes',
    spec: {
      ...withContainer({}),
      volumes: [
        { name: 'v', emptyDir: {} },
        { name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
        { name: 'x', emptyDir: {}, hostPath: { path: '/x' } },
        { name: 'y', hostPath: { path: '/a/../b' } },
        { name: 'z', hostPath: { path: '' } },
        { name: 'm', emptyDir: { medium: 'Tape' } },
        { name: 's', emptyDir: { sizeLimit: '1Gi' } },
        { name: 'c', configMap: { name: 'c', items: [{ key: 'k', path: 'a/../b' }], defaultMode: 1000 } },
        { name: '' },
        {
          name: 't',
          secret: {
            secretName: '',
            items: [
              { key: '', path: '/x', mode: -1 },
              { key: 'k', path: '..x' },
            ],
          },
        },
        {
          name: 'd',
          downwardAPI: {
            items: [
              { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
              { path: 'ip', fieldRef: { fieldPath: 'status.podIP' } },
              { path: 'cpu', resourceFieldRef: { resource: 'limits.cpu' } },
              { path: 'none' },
            ],
          },
        },
        {
          name: 'p',
          projected: {
            sources: [
              { serviceAccountToken: { path: 'token' } },
              { configMap: { name: 'c', items: [{ key: 'k', path: 'same' }] } },
              { secret: { name: 's', items: [{ key: 'k', path: 'same' }] } },
            ],
          },
        },
        { name: 'n', nfs: { path: '/', server: 'x' } },
      ],
    },
    says: [
      'spec.volumes[1].name: Duplicate value: "v"',
      'spec.volumes[2].hostPath: Forbidden: may not specify more than 1 volume type',
      'spec.volumes[3].hostPath.path: Invalid value: "/a/../b": must not contain \'..\'',
      'spec.volumes[4].hostPath.path: Required value',
      'spec.volumes[5].emptyDir.medium: Unsupported value: "Tape": supported values: "", "Memory"',
      'spec.volumes[7].configMap.defaultMode: Invalid value: 1000: must be a number between 0 and 0777 (octal), both inclusive',
      'spec.volumes[7].configMap.items[0].path: Invalid value: "a/../b": must not contain \'..\'',
      'spec.volumes[8].name: Required value',
      'spec.volumes[9].secret.secretName: Required value',
      'spec.volumes[9].secret.items[0].key: Required value',
      'spec.volumes[9].secret.items[0].path: Invalid value: "/x": must be a relative path',
      'spec.volumes[9].secret.items[0].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive',
      'spec.volumes[9].secret.items[1].path: Invalid value: "..x": must not start with \'..\'',
      'spec.volumes[10].downwardAPI.items[1].fieldRef.fieldPath: Unsupported value: "status.podIP": supported values: "metadata.annotations[\'<KEY>\']", "metadata.labels[\'<KEY>\']", "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"',
      'spec.volumes[10].downwardAPI.items[2].resourceFieldRef.containerName: Required value',
      'spec.volumes[10].downwardAPI.items[3].fieldRef: Required value: one of fieldRef and resourceFieldRef is required',
      'spec.volumes[11].projected.sources[2]: Invalid value: "same": conflicting duplicate paths',
      `spec.volumes[11].projected.sources[0].serviceAccountToken: ${later}`,
      `spec.volumes[12].nfs: ${later}`,
    ],
  },
  {
    name: 'scalars',
    spec: {
      ...withContainer({}),
      ...{
        activeDeadlineSeconds: 0,
        terminationGracePeriodSeconds: -1,
        hostname: 'a.b',
        subdomain: 'A',
        nodeName: '../n',
      },
      ...{ nodeSelector: { 'a b': 'x' }, shareProcessNamespace: true, hostPID: true },
    },
    says: [
      'spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive',
      'spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0',
      `spec.hostname: Invalid value: "a.b": ${label}`,
      `spec.subdomain: Invalid value: "A": ${label}`,
      "spec.nodeName: Invalid value: \"../n\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')",
      "spec.nodeSelector: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName' or '123-abc')",
      'spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled',
    ],
  },
  {
    name: 'DNS',
    spec: {
      ...withContainer({}),
      dnsPolicy: 'None',
      dnsConfig: {
        nameservers: ['1.1.1.1', 'x', '::1', '::2'],
        searches: ['a_b.c.', '.', '-'],
        options: [{ name: '' }, { name: 'a\nnameserver 6.6.6.6' }],
      },
    },
    says: [
      'spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","x","::1","::2"]: must not have more than 3 nameservers',
      'spec.dnsConfig.nameservers[1]: Invalid value: "x": must be a valid IP address (e.g. 10.9.8.7 or 2001:db8::ffff)',
      "spec.dnsConfig.searches[2]: Invalid value: \"-\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')",
      'spec.dnsConfig.options[0].name: Required value: must not be empty',
      'spec.dnsConfig.options[1]: Invalid value: {"name":"a\\nnameserver 6.6.6.6"}: must not contain white space',
    ],
  },
  {
    name: 'DNS without servers',
    spec: { ...withContainer({}), dnsPolicy: 'None' },
    says: ['spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None'],
  },
  {
    name: 'host aliases',
    spec: { ...withContainer({}), hostAliases: [{ ip: '1.2.3', hostnames: ['ok', 'a\nb'] }] },
    says: [
      'spec.hostAliases[0].ip: Invalid value: "1.2.3": must be a valid IP address (e.g. 10.9.8.7 or 2001:db8::ffff)',
      "spec.hostAliases[0].hostnames[1]: Invalid value: \"a\\nb\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')",
    ],
  },
  {
    name: 'sysctls',
    spec: {
      ...withContainer({}),
      hostNetwork: true,
      securityContext: {
        sysctls: [
          { name: 'net.ipv4.tcp_syncookies', value: '1' },
          { name: 'net/ipv4/tcp_syncookies', value: '1' },
          { name: 'kernel.panic', value: '1' },
        ],
      },
    },
    says: [
      'spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.tcp_syncookies": may not be specified when `hostNetwork` is true',
      'spec.securityContext.sysctls[1].name: Duplicate value: "net/ipv4/tcp_syncookies"',
      'spec.securityContext.sysctls[1].name: Invalid value: "net/ipv4/tcp_syncookies": may not be specified when `hostNetwork` is true',
    ],
  },
  {
    name: 'tolerations',
    spec: {
      ...withContainer({}),
      tolerations: [
        { operator: 'Exists' },
        { key: 'a', operator: 'Exists', value: 'x' },
        {},
        { key: 'b', tolerationSeconds: 1 },
      ],
    },
    says: [
      'spec.tolerations[1].operator: Invalid value: {"key":"a","operator":"Exists","value":"x"}: value must be empty when `operator` is \'Exists\'',
      'spec.tolerations[2].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"',
      'spec.tolerations[3].effect: Invalid value: "": effect must be \'NoExecute\' when `tolerationSeconds` is set',
    ],
  },
  {
    name: 'init containers and sidecars',
    spec: {
      containers: [container({ restartPolicy: 'Always' })],
      initContainers: [
        container({ livenessProbe: { exec: { command: ['x'] } }, lifecycle: { preStop: sleepHook(1) } }),
        { name: 'b', image: 'i', restartPolicy: 'Never' },
        { name: 'c', image: 'i', restartPolicy: 'Always', livenessProbe: { exec: { command: ['x'] } } },
      ],
    },
    says: [
      'spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always',
      'spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always',
      'spec.initContainers[1].restartPolicy: Unsupported value: "Never": supported values: "Always"',
      'spec.containers[0].name: Duplicate value: "a"',
      'spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers',
    ],
  },
  {
    name: 'probes',
    spec: {
      containers: [
        container({
          livenessProbe: {
            httpGet: { port: 'a--b', host: 'a b', httpHeaders: [{ name: 'X Y', value: 'a\nb' }] },
            successThreshold: 2,
            periodSeconds: -1,
            terminationGracePeriodSeconds: 0,
          },
          readinessProbe: { exec: { command: [] }, grpc: { port: 0 }, terminationGracePeriodSeconds: 3 },
          startupProbe: {},
        }),
      ],
    },
    says: [
      'spec.containers[0].livenessProbe.httpGet.port: Invalid value: "a--b": must not contain consecutive hyphens',
      'spec.containers[0].livenessProbe.httpGet.host: Invalid value: "a b": must not contain white space',
      `spec.containers[0].livenessProbe.httpGet.httpHeaders: Invalid value: "X Y": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name')`,
      'spec.containers[0].livenessProbe.httpGet.httpHeaders[0].value: Invalid value: "a\\nb": must not contain a line break or NUL',
      'spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0',
      'spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1',
      'spec.containers[0].livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0',
      'spec.containers[0].readinessProbe.grpc: Forbidden: may not specify more than 1 handler type',
      'spec.containers[0].readinessProbe.exec.command: Required value',
      'spec.containers[0].readinessProbe.grpc.port: Invalid value: 0: must be between 1 and 65535, inclusive',
      'spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 3: must not be set for readinessProbes',
      'spec.containers[0].startupProbe: Required value: must specify a handler type',
    ],
  },
  {
    name: 'hooks, stop signal and readiness gates',
    spec: {
      readinessGates: [{ conditionType: 'not a name' }],
      containers: [
        container({
          lifecycle: { postStart: { tcpSocket: { port: 1 } }, preStop: sleepHook(31), stopSignal: 'SIGUSR1' },
        }),
      ],
    },
    says: [
      'spec.containers[0].lifecycle.preStop.sleep.seconds: Invalid value: 31: must be a non-negative integer less than or equal to terminationGracePeriodSeconds: 30',
      'spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`',
      "spec.readinessGates[0].conditionType: Invalid value: \"not a name\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName' or '123-abc')",
      `spec.containers[0].lifecycle.postStart.tcpSocket: ${later}`,
    ],
  },
  {
    name: 'users of its own, with what they do not go with',
    spec: {
      ...withContainer({
        securityContext: { procMount: 'Unmasked', privileged: true },
        volumeMounts: [{ name: 'v', mountPath: '/v', mountPropagation: 'Bidirectional' }],
      }),
      volumes: [{ name: 'v', emptyDir: {} }],
      hostUsers: false,
      hostNetwork: true,
      hostPID: true,
      hostIPC: true,
    },
    says: [
      'spec.hostNetwork: Forbidden: when `hostUsers` is false',
      'spec.hostPID: Forbidden: when `hostUsers` is false',
      'spec.hostIPC: Forbidden: when `hostUsers` is false',
      'spec.containers[0].volumeMounts[0].mountPropagation: Forbidden: Bidirectional needs `hostUsers` to be true',
    ],
  },
  {
    name: 'users of its own, and an unmasked /proc',
    spec: {
      ...withContainer({ securityContext: { procMount: 'Unmasked' } }),
      hostUsers: false,
      shareProcessNamespace: true,
    },
    says: [],
  },
  {
    name: 'what is not there yet is refused by name',
    spec: {
      containers: [container({ volumeDevices: [{ name: 'v', devicePath: '/dev/v' }] })],
      ...{
        securityContext: { appArmorProfile: { type: 'Localhost', localhostProfile: 'x' } },
        os: { name: 'windows' },
      },
    },
    says: [
      `spec.containers[0].volumeDevices: ${later}`,
      'spec.securityContext.appArmorProfile.type: Forbidden: "Localhost": podwire loads no AppArmor profiles yet; only Unconfined is accepted',
      'spec.os.name: Forbidden: "windows" is not supported by podwire 0.1 yet',
    ],
  },
  {
    name: 'what asks for nothing, or for what happens anyway, passes',
    spec: {
      containers: [
        container({
          envFrom: [],
          stdinOnce: false,
          ports: [{ containerPort: 1, hostPort: 0 }],
          securityContext: { procMount: 'Default', appArmorProfile: { type: 'Unconfined' } },
        }),
      ],
      ...{
        initContainers: [],
        hostUsers: true,
        setHostnameAsFQDN: false,
        securityContext: { supplementalGroupsPolicy: 'Merge', runAsNonRoot: true },
      },
      ...{
        affinity: { nodeAffinity: {} },
        topologySpreadConstraints: [],
        automountServiceAccountToken: false,
        os: { name: 'linux' },
      },
    },
    says: [],
  },
];

for (const c of specs) {
  t.test(`spec: ${c.name}`, async (t) => {
    const spec = structuredClone(c.spec) as PodSpec;
    const grace = spec.terminationGracePeriodSeconds;
    defaultPodSpec(spec);
    if (grace !== undefined) spec.terminationGracePeriodSeconds = grace;
    t.strictSame(texts([...validatePodSpec(spec), ...unsupportedFields(spec)]), c.says);
  });
}

t.test('AppArmor asked for by annotation', async (t) => {
  const key = 'container.apparmor.security.beta.kubernetes.io/a';
  t.strictSame(texts(unsupportedAnnotations({ [key]: 'unconfined', other: 'x' })), []);
  t.match(texts(unsupportedAnnotations({ [key]: 'runtime/default' })), [
    /^metadata.annotations\[.*\/a\]: Forbidden: /,
  ]);
});

const old: PodSpec = {
  containers: [{ name: 'a', image: 'i:1', args: ['x'] }],
  activeDeadlineSeconds: 10,
  tolerations: [{ key: 'a', operator: 'Exists', effect: 'NoExecute' }],
};
const updates: { name: string; change: (spec: PodSpec) => void; says: RegExp[] }[] = [
  { name: 'nothing', change: () => {}, says: [] },
  { name: 'image', change: (spec) => (spec.containers[0]!.image = 'i:2'), says: [] },
  { name: 'shorter deadline', change: (spec) => (spec.activeDeadlineSeconds = 5), says: [] },
  {
    name: 'longer deadline',
    change: (spec) => (spec.activeDeadlineSeconds = 50),
    says: [
      /^spec.activeDeadlineSeconds: Invalid value: 50: must be less than or equal to previous value 10$/,
    ],
  },
  {
    name: 'no deadline',
    change: (spec) => delete spec.activeDeadlineSeconds,
    says: [/^spec.activeDeadlineSeconds: Invalid value: null/],
  },
  {
    name: 'one more toleration',
    change: (spec) => spec.tolerations!.push({ key: 'b', operator: 'Exists' }),
    says: [],
  },
  { name: 'longer toleration', change: (spec) => (spec.tolerations![0]!.tolerationSeconds = 9), says: [] },
  {
    name: 'no toleration',
    change: (spec) => (spec.tolerations = []),
    says: [/^spec.tolerations: Forbidden: existing toleration/],
  },
  {
    name: 'another container',
    change: (spec) => spec.containers.push({ name: 'b' }),
    says: [/^spec.containers: Forbidden: pod updates may not add or remove containers$/],
  },
  {
    name: 'anything else',
    change: (spec) => {
      spec.containers[0]!.args = ['y'];
      spec.nodeName = 'n';
    },
    says: [
      /^spec: Forbidden: pod updates may not change fields other than .*; changed: spec.nodeName, spec.containers\[0\].args\[0\]$|changed: spec.containers\[0\].args\[0\], spec.nodeName$/,
    ],
  },
];
for (const c of updates) {
  t.test(`update: ${c.name}`, async (t) => {
    const spec = structuredClone(old);
    c.change(spec);
    const said = texts(validatePodUpdate(spec, old));
    t.equal(said.length, c.says.length, said.join('\n'));
    for (const [at, pattern] of c.says.entries()) t.match(said[at], pattern);
  });
}

const metas: { name: string; meta: Partial<ObjectMeta>; rules: typeof podMetaRules; fields: string[] }[] = [
  {
    name: 'good',
    meta: { name: 'a.b', namespace: 'n', labels: { a: '' }, annotations: { 'x/Y': 'any thing' } },
    rules: podMetaRules,
    fields: [],
  },
  {
    name: 'climbing name',
    meta: { name: '../../etc', namespace: '../x' },
    rules: podMetaRules,
    fields: ['metadata.name', 'metadata.namespace'],
  },
  { name: 'no name', meta: { namespace: 'n' }, rules: podMetaRules, fields: ['metadata.name'] },
  {
    name: 'generateName',
    meta: { name: 'a-x', generateName: 'A-', namespace: 'n' },
    rules: podMetaRules,
    fields: ['metadata.generateName'],
  },
  {
    name: 'a node in a namespace',
    meta: { name: 'n', namespace: 'x' },
    rules: nodeMetaRules,
    fields: ['metadata.namespace'],
  },
  {
    name: 'a namespace with a dot',
    meta: { name: 'a.b' },
    rules: namespaceMetaRules,
    fields: ['metadata.name'],
  },
  {
    name: 'labels',
    meta: { name: 'a', namespace: 'n', labels: { '-': 'x', ok: 'a b' } },
    rules: podMetaRules,
    fields: ['metadata.labels', 'metadata.labels'],
  },
  {
    name: 'annotations',
    meta: { name: 'a', namespace: 'n', annotations: { 'a b': '', big: 'x'.repeat(300_000) } },
    rules: podMetaRules,
    fields: ['metadata.annotations', 'metadata.annotations'],
  },
  {
    name: 'owners and finalizers',
    meta: {
      name: 'a',
      namespace: 'n',
      finalizers: ['/'],
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: '', uid: 'u' }],
    },
    rules: eventMetaRules,
    fields: ['metadata.finalizers[0]', 'metadata.ownerReferences[0].name'],
  },
];
for (const c of metas)
  t.test(`metadata: ${c.name}`, async (t) =>
    t.strictSame(
      validateMeta(c.meta, c.rules).map(({ field }) => field),
      c.fields,
    ),
  );

t.test('metadata update, nodes, events', async (t) => {
  t.strictSame(texts(validateMetaUpdate({ name: 'b', namespace: 'n' }, { name: 'a', namespace: 'n' })), [
    'metadata.name: Invalid value: "b": field is immutable',
  ]);
  t.equal(
    validateMetaUpdate({ name: 'a', finalizers: ['x/y'] }, { name: 'a', deletionTimestamp: 'now' }).length,
    1,
  );
  const node = {
    spec: {
      taints: [
        { key: '', effect: '' },
        { key: 'a b', value: 'c d', effect: 'NoSchedule' },
      ],
    },
  } as unknown as Node;
  t.strictSame(
    validateNode(node).map(({ field }) => field),
    ['spec.taints[0].key', 'spec.taints[0].effect', 'spec.taints[1].key', 'spec.taints[1].value'],
  );
  const event = (own: string, about?: string): Event =>
    ({ metadata: { namespace: own }, involvedObject: { namespace: about } }) as Event;
  t.equal(validateEvent(event('a', 'a')).length, 0);
  t.equal(validateEvent(event('default')).length, 0, 'a node');
  t.match(validateEvent(event('a', 'b')), [{ field: 'involvedObject.namespace' }]);
});

t.test('many faults are one Status', async (t) => {
  const error = fieldErrorsToApiError({ kind: 'Pod', name: 'web' }, [
    { reason: 'FieldValueRequired', field: 'spec.containers', message: 'Required value' },
    { reason: 'FieldValueInvalid', field: 'spec.x', message: 'Invalid value: 1: no' },
  ]);
  t.match(error.status, {
    code: 422,
    reason: 'Invalid',
    message: 'Pod "web" is invalid: [spec.containers: Required value, spec.x: Invalid value: 1: no]',
    details: { kind: 'Pod', name: 'web', causes: [{ field: 'spec.containers' }, { field: 'spec.x' }] },
  });
});
