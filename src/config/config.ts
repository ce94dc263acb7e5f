import type { LogLevel } from '../base/log.ts';
import type { ListenAddress } from './listen-address.ts';
import type { LogType } from './log-type.ts';
import { expandPath } from './paths.ts';
import { parseReplicaUrl, type ReplicaLocation } from './replica-url.ts';
import { DEFAULT_STORE_LIMITS, type StoreLimits } from './store-limits.ts';

/** How a replica is used, wherever it is. */
export interface ReplicaUse {
  /** How often local files are sent to the store, ms. */
  readonly syncIntervalMs: number;
  readonly limits: StoreLimits;
}

/** Where a database is replicated to, and how. */
export type ReplicaConfig = ReplicaLocation & ReplicaUse;

/** One database and its replica. Where a limit or an interval is `Infinity`, there is none. */
export interface DatabaseConfig {
  /** Absolute. */
  readonly path: string;
  /** Folder of the local state; default `.<file>-rivulet` beside the database. */
  readonly metaPath: string | undefined;
  /** How often the database is looked at where no file-system event came, ms. */
  readonly monitorIntervalMs: number;
  readonly busyTimeoutMs: number;
  /** WAL pages from which a checkpoint is made. */
  readonly minCheckpointPageCount: number;
  /** How long after the last checkpoint the next one is due, whatever the size of the WAL, ms; Infinity: never. */
  readonly checkpointIntervalMs: number;
  /** WAL pages from which a checkpoint also shrinks the file; Infinity: never. */
  readonly truncatePageCount: number;
  /** Most WAL bytes in one LTX file; Infinity: no limit. */
  readonly maxSyncWalBytes: number;
  /** Most bytes of local LTX files that are not stored yet. */
  readonly maxSpoolBytes: number;
  readonly restoreIfMissing: boolean;
  /** Whether a database in rollback-journal mode is switched to WAL; false: it is refused. */
  readonly setWal: boolean;
  readonly replica: ReplicaConfig;
}

export interface LoggingConfig {
  readonly level: LogLevel;
  readonly type: LogType;
  /** Log to stderr instead of stdout. */
  readonly stderr: boolean;
}

export interface Config {
  readonly dbs: readonly DatabaseConfig[];
  /** The command that `replicate` runs beside the replication. */
  readonly exec: string | undefined;
  readonly logging: LoggingConfig;
  /** Where metrics are given; undefined: nowhere. */
  readonly addr: ListenAddress | undefined;
  /** How long the last upload is tried again at shutdown, ms; 0: one attempt. */
  readonly shutdownSyncTimeoutMs: number;
  readonly shutdownSyncIntervalMs: number;
  /** What the configuration asks for and nothing acts on; to be logged at start. */
  readonly warnings: readonly string[];
  /** The file that it was read from; undefined when it came from the command line. */
  readonly path: string | undefined;
}

export const REPLICA_DEFAULTS: ReplicaUse = { syncIntervalMs: 1000, limits: DEFAULT_STORE_LIMITS };

export const DATABASE_DEFAULTS = {
  metaPath: undefined,
  monitorIntervalMs: 1000,
  busyTimeoutMs: 1000,
  minCheckpointPageCount: 1000,
  checkpointIntervalMs: 60_000,
  truncatePageCount: 121_359,
  maxSyncWalBytes: 64 * 1024 * 1024,
  maxSpoolBytes: 1024 * 1024 * 1024,
  restoreIfMissing: false,
  setWal: true,
} as const satisfies Omit<DatabaseConfig, 'path' | 'replica'>;

export const CONFIG_DEFAULTS = {
  exec: undefined,
  addr: undefined,
  logging: { level: 'info', type: 'text', stderr: false },
  shutdownSyncTimeoutMs: 30_000,
  shutdownSyncIntervalMs: 500,
  warnings: [],
  path: undefined,
} as const satisfies Omit<Config, 'dbs'>;

/** What `replicate DB_PATH REPLICA_URL` means: everything else as by default. Throws as {@link parseReplicaUrl}. */
export function defaultDatabaseConfig(path: string, replicaUrl: string): DatabaseConfig {
  const replica = { ...parseReplicaUrl(replicaUrl), ...REPLICA_DEFAULTS };
  return { ...DATABASE_DEFAULTS, path: expandPath(path), replica };
}

/** A configuration of one database that no file was needed for. */
export function defaultConfig(database: DatabaseConfig): Config {
  return { ...CONFIG_DEFAULTS, dbs: [database] };
}
