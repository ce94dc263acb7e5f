import { stringify } from 'yaml';
import type { Config, DatabaseConfig, ReplicaConfig } from './config.ts';
import { formatDuration } from './duration.ts';
import { formatListenAddress } from './listen-address.ts';
import type { S3Location } from './s3-location.ts';

/** A configuration as a configuration file would have it, with every default filled in. Secrets are masked. */
export function configValues(config: Config) {
  return {
    dbs: config.dbs.map(databaseValues),
    exec: config.exec,
    logging: config.logging,
    addr: config.addr && formatListenAddress(config.addr),
    'shutdown-sync-timeout': formatDuration(config.shutdownSyncTimeoutMs),
    'shutdown-sync-interval': formatDuration(config.shutdownSyncIntervalMs),
  };
}

/** The same as YAML. */
export function configYaml(config: Config): string {
  return stringify(JSON.parse(JSON.stringify(configValues(config))), { lineWidth: 0 });
}

function databaseValues(database: DatabaseConfig) {
  return {
    path: database.path,
    'meta-path': database.metaPath,
    'monitor-interval': formatDuration(database.monitorIntervalMs),
    'busy-timeout': formatDuration(database.busyTimeoutMs),
    'checkpoint-interval': formatDuration(orZero(database.checkpointIntervalMs)),
    'min-checkpoint-page-count': database.minCheckpointPageCount,
    'truncate-page-n': Number.isFinite(database.truncatePageCount) ? database.truncatePageCount : -1,
    'max-sync-wal-bytes': orZero(database.maxSyncWalBytes),
    'max-spool-bytes': database.maxSpoolBytes,
    'restore-if-db-not-exists': database.restoreIfMissing,
    'set-wal': database.setWal,
    replica: replicaValues(database.replica),
  };
}

function replicaValues(replica: ReplicaConfig) {
  return {
    type: replica.type,
    ...(replica.type === 's3' ? s3Values(replica) : { path: replica.path }),
    'sync-interval': formatDuration(replica.syncIntervalMs),
    'max-connections': replica.limits.maxConnections,
    'upload-limit': orZero(replica.limits.uploadBytesPerSecond),
    'download-limit': orZero(replica.limits.downloadBytesPerSecond),
  };
}

function s3Values(location: S3Location) {
  const { credentials, encryption } = location;
  return {
    bucket: location.bucket,
    path: location.keyPrefix.slice(0, -1),
    endpoint: location.endpoint,
    region: location.region,
    'force-path-style': location.pathStyle,
    'access-key-id': credentials?.accessKeyId,
    'secret-access-key': credentials?.secretAccessKey,
    'session-token': credentials?.sessionToken,
    'sign-payload': location.signPayload,
    'require-content-md5': location.contentMd5,
    'skip-verify': location.skipVerify,
    'root-cas': location.rootCas,
    'storage-class': location.storageClass,
    'part-size': location.partSizeBytes,
    concurrency: location.concurrency,
    'sse-customer-key': encryption?.kind === 'customer-key' ? encryption.key : undefined,
    'sse-kms-key-id': encryption?.kind === 'kms' ? encryption.keyId : undefined,
  };
}

/** How a configuration writes that there is no limit. */
function orZero(limit: number): number {
  return Number.isFinite(limit) ? limit : 0;
}
