/**
 * The public library. Everything that the `rivulet` command does goes through these functions.
 *
 * Replicate from a process of its own: closing a database file in the process that replicates it drops the locks that
 * protect the replication, so an application that has the database open must not call {@link runReplicate}.
 */
export { hasCode, RivuletError } from './base/errors.ts';
export type { LogFields, Logger, LogLevel } from './base/log.ts';
export { silentLogger } from './base/log.ts';
export { Secret } from './base/secret.ts';
export type { Checksum, Pgno, Txid } from './base/types.ts';
export { formatTxid, parseTxid } from './base/types.ts';
export type { L0Kind, SpooledFile } from './capture/l0-writer.ts';
export type { CaptureState } from './capture/options.ts';
export type { Config, DatabaseConfig, ReplicaConfig } from './config/config.ts';
export { defaultConfig, defaultDatabaseConfig } from './config/config.ts';
export { loadConfig } from './config/load-config.ts';
export type { FileLocation, ReplicaLocation } from './config/replica-url.ts';
export { parseReplicaUrl } from './config/replica-url.ts';
export type { S3Credentials, S3Encryption, S3Location } from './config/s3-location.ts';
export type { StoreLimits } from './config/store-limits.ts';
export type { ReplicationEvents } from './daemon/database-replication.ts';
export type { ReplicateOptions } from './daemon/replicate.ts';
export { runReplicate } from './daemon/replicate.ts';
export type { DecodeStep } from './ltx/decoder.ts';
export { LtxDecoder } from './ltx/decoder.ts';
export type { LtxHeader, LtxTrailer, WalRange } from './ltx/format.ts';
export type { LtxFault } from './ltx/ltx-error.ts';
export { LtxError } from './ltx/ltx-error.ts';
export type { KeyLayout, Level } from './replica/layout.ts';
export type { OpenedReplica } from './replica/open-replica.ts';
export { openReplica } from './replica/open-replica.ts';
export type { PlanOptions, RestorePlan } from './replica/plan.ts';
export { planRestore, restorableTxids } from './replica/plan.ts';
export type { ProbeStep } from './replica/probe-store.ts';
export { probeStore } from './replica/probe-store.ts';
export type { LtxFileInfo } from './replica/replica.ts';
export { Replica } from './replica/replica.ts';
export type { RestoreOptions, RestoreResult } from './restore/restore.ts';
export { restoreDatabase } from './restore/restore.ts';
export { FileStore } from './store/file/file-store.ts';
export { readOnly } from './store/read-only-store.ts';
export type {
  DeleteResult,
  ListOptions,
  ObjectInfo,
  ObjectReader,
  OpenOptions,
  PutBody,
  PutOptions,
  ReadableStore,
  RequestOptions,
  Store,
  StoreErrorKind,
} from './store/store.ts';
export { StoreError } from './store/store.ts';
