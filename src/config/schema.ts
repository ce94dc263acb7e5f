import { z } from 'zod';
import { LOG_LEVELS, parseLogLevel } from './log-level.ts';
import { LOG_TYPES } from './log-type.ts';
import { expandPath } from './paths.ts';
import { BUILT_REPLICA_TYPES, checkReplicaType } from './replica-url.ts';
import { MAX_CONCURRENCY, MAX_PART_SIZE_BYTES, MIN_PART_SIZE_BYTES } from './s3-settings.ts';
import {
  checked,
  choice,
  flag,
  integer,
  notNegative,
  notNegativeSpan,
  positive,
  positiveSpan,
  rate,
  secret,
  size,
  text,
  texts,
} from './scalars.ts';
import { OTHER_STORE_KEYS } from './store-keys.ts';
import { REFUSED_DATABASE_KEYS, REFUSED_REPLICA_KEYS } from './unbuilt-keys.ts';

/*
 * The one schema of a configuration file; the one for editors is made from it. Defaults are not here: see config.ts.
 */

/** A key without a value, or none at all, is absent. */
function optional<T>(schema: z.ZodType<T, unknown>, description: string, deprecated?: 'deprecated') {
  return schema.meta({ description, ...(deprecated && { deprecated: true }) }).optional();
}

const MAX_CONNECTIONS = 1000;

const s3 = {
  bucket: optional(text(), 'The bucket, or the ARN of an access point.'),
  endpoint: optional(text(), 'Address of a store that is not Amazon’s: a host or a URL; without a scheme it is https.'),
  region: optional(text(), 'Region of the bucket. Default: looked up; us-east-1 with an endpoint.'),
  'force-path-style': optional(flag(), 'The bucket in the path, not in the host name. Default: with an endpoint.'),
  'access-key-id': optional(text(), 'Default: from the environment, as all tools for Amazon do.'),
  'secret-access-key': optional(secret(), 'Belongs to access-key-id.'),
  'session-token': optional(secret(), 'Belongs to temporary credentials.'),
  'sign-payload': optional(flag(), 'Sign the bytes that are sent, too. Default: true.'),
  'require-content-md5': optional(flag(), 'Send a Content-MD5 with deletes. Default: true.'),
  'skip-verify': optional(flag(), 'Take any TLS certificate. Default: false.'),
  'root-cas': optional(
    texts().transform((paths) => paths.map(expandPath)),
    'PEM files with certificates of authorities to trust beside the system’s.',
  ),
  'storage-class': optional(text(), 'Storage class of what is stored.'),
  'part-size': optional(
    size(MIN_PART_SIZE_BYTES, 'must be at least 5MiB', MAX_PART_SIZE_BYTES),
    'Objects from this size on are sent in parts of it. Default: 5MiB.',
  ),
  concurrency: optional(
    integer(1, 'must be at least 1', MAX_CONCURRENCY),
    'Parts of one object that are sent at a time. Default: 5; with Cloudflare R2: 2.',
  ),
  'sse-customer-algorithm': optional(text(), 'AES256.'),
  'sse-customer-key': optional(secret(), 'Key that the store encrypts with and does not keep: 32 bytes in base64.'),
  'sse-customer-key-path': optional(text().transform(expandPath), 'A file that holds the key of sse-customer-key.'),
  'sse-kms-key-id': optional(text(), 'Key of the store’s key management that it encrypts with.'),
};

/** Of stores that are not built: known, so that defaults for them may stay where they are. */
const otherStores: Record<never, z.ZodType> = Object.fromEntries(
  OTHER_STORE_KEYS.map((key) => [key, optional(z.unknown(), 'For a kind of store that is not built yet.')]),
);

/** What a replica has, and the top for all replicas. */
const settings = {
  'sync-interval': optional(
    notNegative('sync interval'),
    'How often what was captured is sent to the store; 0: at once. Default: 1s.',
  ),
  'max-connections': optional(
    integer(1, 'must be at least 1', MAX_CONNECTIONS),
    'Requests to the store at a time. Default: 32.',
  ),
  'upload-limit': optional(rate(), 'Most bytes a second that are sent. Default: no limit.'),
  'download-limit': optional(rate(), 'Most bytes a second that are received. Default: no limit.'),
  ...s3,
  'validation-interval': optional(positiveSpan('validation interval'), 'Nothing acts on it yet.'),
  'max-sync-ltx-files': optional(integer(0, 'must not be negative'), 'Nothing acts on it.'),
  'auto-recover': optional(flag(), 'Nothing acts on it.'),
};

const replicaType = checked((type) => {
  checkReplicaType(type);
  return type;
}).meta({ anyOf: [{ enum: BUILT_REPLICA_TYPES }, { pattern: '\\$' }] });

const replica = z.strictObject({
  type: optional(replicaType, 'Kind of store. Default: that of the URL, or file.'),
  url: optional(text(), 'Where the replica is: s3://BUCKET/PATH or file:///FOLDER. Instead of type, bucket and path.'),
  path: optional(text(), 'The folder, or the path within the bucket.'),
  ...settings,
  ...otherStores,
  name: optional(text(), 'Ignored.', 'deprecated'),
  retention: optional(notNegativeSpan('retention'), 'Of Litestream 0.3. Nothing acts on it yet.', 'deprecated'),
  'retention-check-interval': optional(notNegativeSpan('retention check interval'), 'Of Litestream 0.3.', 'deprecated'),
  'snapshot-interval': optional(notNegativeSpan('snapshot interval'), 'Of Litestream 0.3.', 'deprecated'),
});

const snapshot = z.strictObject({
  interval: optional(positiveSpan('snapshot interval'), 'Nothing acts on it yet.'),
  retention: optional(positiveSpan('snapshot retention'), 'Nothing acts on it yet.'),
});

const database = z.strictObject({
  path: optional(text().transform(expandPath), 'The database file.'),
  replica: optional(replica, 'Where it is replicated to.'),
  replicas: optional(z.array(replica), 'A list with just one replica; the same as replica.', 'deprecated'),
  'meta-path': optional(
    text().transform(expandPath),
    'Folder of the local state. Default: .FILE-rivulet beside the file.',
  ),
  'monitor-interval': optional(positive('monitor interval'), 'How often the database is looked at. Default: 1s.'),
  'busy-timeout': optional(notNegative('busy timeout'), 'How long to wait for a lock of the database. Default: 1s.'),
  'checkpoint-interval': optional(
    notNegative('checkpoint interval'),
    'How long after a checkpoint the next one is due; 0: never for that reason. Default: 1m.',
  ),
  'min-checkpoint-page-count': optional(
    integer(1, 'minimum checkpoint page count must be greater than 0'),
    'Pages in the WAL that make a checkpoint due. Default: 1000.',
  ),
  'truncate-page-n': optional(
    integer(Number.MIN_SAFE_INTEGER, ''),
    'Pages in the WAL from which a checkpoint also shrinks the file; negative: never. Default: 121359.',
  ),
  'max-sync-wal-bytes': optional(
    size(0, 'must not be negative'),
    'Most WAL in one stored file; 0: no limit. Default: 64MiB.',
  ),
  'max-spool-bytes': optional(
    size(1, 'must be greater than 0'),
    'Most local disk for what is not stored yet. Default: 1GiB.',
  ),
  'restore-if-db-not-exists': optional(flag(), 'Restore the database first when it is missing. Default: false.'),
  'set-wal': optional(flag(), 'Switch a database in rollback-journal mode to WAL. Default: true.'),
  snapshot: optional(snapshot, 'Nothing acts on it yet.'),
  'max-checkpoint-page-count': optional(integer(0, 'must not be negative'), 'Of Litestream 0.3.', 'deprecated'),
  'shadow-retention-n': optional(integer(0, 'must not be negative'), 'Of Litestream 0.3.', 'deprecated'),
});

const level = z.strictObject({
  interval: positiveSpan('compaction interval').meta({ description: 'Nothing acts on it yet.' }),
});

const logging = z.strictObject({
  level: optional(choice(LOG_LEVELS, parseLogLevel), 'Least level that is logged. Default: info.'),
  type: optional(
    choice(LOG_TYPES, (name) => LOG_TYPES.find((type) => type === name.toLowerCase())),
    'Form of the log. Default: text.',
  ),
  stderr: optional(flag(), 'Log to stderr instead of stdout. Default: false.'),
  source: optional(flag(), 'Nothing acts on it.'),
});

const socket = z.strictObject({
  enabled: optional(flag(), 'Nothing acts on it yet.'),
  path: optional(text(), 'Nothing acts on it yet.'),
  permissions: optional(text(), 'Nothing acts on it yet.'),
});

/** Such an address is often all that is needed to use it: it is not repeated. */
const heartbeatUrl = text()
  .refine((url) => url === '' || /^https?:\/\//.test(url), 'heartbeat-url must start with http:// or https://')
  .meta({ type: 'string', pattern: '^https?://|\\$' });

export const fileSchema = z.strictObject({
  dbs: optional(z.array(database), 'The databases.'),
  exec: optional(text(), 'A command that replicate runs beside the replication.'),
  logging: optional(logging, 'The log.'),
  'shutdown-sync-timeout': optional(
    notNegative('shutdown-sync-timeout'),
    'How long the last upload is tried again at shutdown; 0: one attempt. Default: 30s.',
  ),
  'shutdown-sync-interval': optional(
    positive('shutdown sync interval'),
    'Pause between these attempts. Default: 500ms.',
  ),
  ...settings,
  ...otherStores,
  retention: optional(
    z.strictObject({ enabled: optional(flag(), 'Whether old files are removed. None ever is yet.') }),
    'Nothing is removed yet.',
  ),
  levels: optional(z.array(level).max(8, 'compaction level cannot exceed 8'), 'Nothing acts on it yet.'),
  snapshot: optional(snapshot, 'Nothing acts on it yet.'),
  'l0-retention': optional(notNegativeSpan('l0 retention'), 'Nothing acts on it yet.'),
  'l0-retention-check-interval': optional(positiveSpan('l0 retention check interval'), 'Nothing acts on it yet.'),
  'verify-compaction': optional(flag(), 'Nothing acts on it yet.'),
  validation: optional(
    z.strictObject({ interval: optional(positiveSpan('validation interval'), 'Nothing acts on it yet.') }),
    'Nothing acts on it yet.',
  ),
  addr: optional(text(), 'Where metrics are given: host:port, or :port for every address of this machine.'),
  'mcp-addr': optional(text(), 'Nothing acts on it yet.'),
  socket: optional(socket, 'Nothing acts on it yet.'),
  'heartbeat-url': optional(heartbeatUrl, 'Nothing acts on it yet.'),
  'heartbeat-interval': optional(notNegativeSpan('heartbeat interval'), 'Nothing acts on it yet.'),
});

export type ConfigFile = z.infer<typeof fileSchema>;
export type DatabaseSection = z.infer<typeof database>;
export type ReplicaSection = z.infer<typeof replica>;

/** A part of the file, with the keys that it can have. */
export interface Section {
  readonly built: readonly string[];
  /** Keys that only Litestream acts on, and that are refused. */
  readonly unbuilt: readonly string[];
}

const SECTIONS = {
  top: { built: Object.keys(fileSchema.shape), unbuilt: REFUSED_REPLICA_KEYS },
  dbs: { built: Object.keys(database.shape), unbuilt: REFUSED_DATABASE_KEYS },
  replica: { built: Object.keys(replica.shape), unbuilt: REFUSED_REPLICA_KEYS },
  snapshot: { built: Object.keys(snapshot.shape), unbuilt: [] },
  levels: { built: Object.keys(level.shape), unbuilt: [] },
  logging: { built: Object.keys(logging.shape), unbuilt: [] },
  socket: { built: Object.keys(socket.shape), unbuilt: [] },
  retention: { built: ['enabled'], unbuilt: [] },
  validation: { built: ['interval'], unbuilt: [] },
} as const satisfies Record<string, Section>;

/** The section whose keys are found at `path`. */
export function sectionAt(path: readonly (string | number)[]): Section {
  const name = path.findLast((part) => typeof part === 'string') ?? 'top';
  if (name === 'replicas') return SECTIONS.replica;
  return Object.entries(SECTIONS).find(([section]) => section === name)?.[1] ?? SECTIONS.top;
}
