// What the rest of podwire uses of lib/cni. Assumes nothing; re-exports only.
export {
  Cni,
  type Attachment,
  type CniOptions,
  type NetworkCall,
  type VersionInfo,
} from './runtime.ts';
export {
  capabilitiesOf,
  loadDefault,
  loadFile,
  loadFolder,
  loadNetwork,
  parseList,
  parseSingle,
  type NetworkList,
  type PluginConf,
} from './conf.ts';
export { listAttachments, loadAttachment, type CachedAttachment } from './cache.ts';
export { CniError, cniCodes } from './errors.ts';
export { explainScript } from './explain.ts';
export type { AttachmentKey, CniDns, CniInterface, CniIp, CniResult, CniRoute } from './types.ts';
