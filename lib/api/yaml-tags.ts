// What Kubernetes' YAML reads otherwise than YAML 1.2: octal numbers and the old words for true and false.
// Assumes the package yaml, whose `customTags` takes them before its own. Pure; a constant.
import type { ScalarTag } from 'yaml';

/** YAML 1.1's numbers and booleans: 0644 is octal, yes and on are true. */
export const kubernetesTags: readonly ScalarTag[] = [
  {
    tag: 'tag:yaml.org,2002:int',
    default: true,
    test: /^[-+]?0[0-7]+$/,
    resolve: (text) => Number.parseInt(text, 8),
  },
  {
    tag: 'tag:yaml.org,2002:bool',
    default: true,
    test: /^(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$/,
    resolve: (text) => /^(?:yes|on)$/i.test(text),
  },
];
