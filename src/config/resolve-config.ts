import { realPath, resolveDatabasePath } from '../base/database-files.ts';
import {
  CONFIG_DEFAULTS,
  type Config,
  DATABASE_DEFAULTS,
  type DatabaseConfig,
  DEFAULT_SYNC_INTERVAL_MS,
  type ReplicaConfig,
} from './config.ts';
import { ConfigError } from './config-error.ts';
import { formatDuration } from './duration.ts';
import type { ReplicaLocation } from './replica-url.ts';
import type { ConfigFile, DatabaseSection, ReplicaSection } from './schema.ts';
import type { Path, YamlTree } from './yaml-tree.ts';

/** Fills in the defaults, and checks what only several values together can tell. */
export function resolveConfig(file: ConfigFile, path: string, tree: YamlTree): Config {
  return new Resolver(file, path, tree).resolve();
}

const NOTHING_ACTS = 'nothing acts on it yet: there is no compaction and no retention, every file stays stored';

class Resolver {
  readonly #file: ConfigFile;
  readonly #path: string;
  readonly #tree: YamlTree;
  readonly #warnings: string[] = [];

  constructor(file: ConfigFile, path: string, tree: YamlTree) {
    this.#file = file;
    this.#path = path;
    this.#tree = tree;
  }

  resolve(): Config {
    const file = this.#file;
    for (const key of ['levels', 'snapshot', 'l0-retention', 'l0-retention-check-interval'] as const) {
      if (file[key] !== undefined) this.#warn([key], `${key}: ${NOTHING_ACTS}`);
    }
    const dbs = (file.dbs ?? []).map((section, index) => this.#database(section, index));
    this.#checkTwice(dbs);
    this.#checkSnapshots('interval');
    this.#checkSnapshots('retention');
    return {
      dbs,
      exec: file.exec || CONFIG_DEFAULTS.exec,
      logging: { ...CONFIG_DEFAULTS.logging, ...withoutAbsent(file.logging ?? {}) },
      shutdownSyncTimeoutMs: file['shutdown-sync-timeout'] ?? CONFIG_DEFAULTS.shutdownSyncTimeoutMs,
      shutdownSyncIntervalMs: file['shutdown-sync-interval'] ?? CONFIG_DEFAULTS.shutdownSyncIntervalMs,
      warnings: this.#warnings,
      path: this.#path,
    };
  }

  #database(section: DatabaseSection, index: number): DatabaseConfig {
    const where = ['dbs', index];
    if (section.path === undefined) this.#fail(where, `database config #${index + 1}: must specify 'path'`);
    if (section.snapshot) this.#warn([...where, 'snapshot'], `dbs[${index}].snapshot: ${NOTHING_ACTS}`);
    const given = withoutAbsent({
      metaPath: section['meta-path'],
      monitorIntervalMs: section['monitor-interval'],
      busyTimeoutMs: section['busy-timeout'],
      minCheckpointPageCount: section['min-checkpoint-page-count'],
      checkpointIntervalMs: orInfinity(section['checkpoint-interval']),
      truncatePageCount: truncatePageCount(section['truncate-page-n']),
      maxSyncWalBytes: orInfinity(section['max-sync-wal-bytes']),
      maxSpoolBytes: section['max-spool-bytes'],
      restoreIfMissing: section['restore-if-db-not-exists'],
      setWal: section['set-wal'],
    });
    return { ...DATABASE_DEFAULTS, ...given, path: section.path, replica: this.#replica(section, where) };
  }

  #replica(section: DatabaseSection, where: Path): ReplicaConfig {
    const { replica, replicas } = section;
    if (replica) {
      if (replicas) this.#fail([...where, 'replicas'], "cannot specify 'replica' and 'replicas' on a database");
      return this.#oneReplica(replica, [...where, 'replica']);
    }
    const [first, second] = replicas ?? [];
    if (!first) this.#fail(where, 'must specify replica for database');
    if (second) {
      this.#fail([...where, 'replicas', 1], 'multiple replicas on a single database are no longer supported');
    }
    return this.#oneReplica(first, [...where, 'replicas', 0]);
  }

  #oneReplica(section: ReplicaSection, where: Path): ReplicaConfig {
    if (section.url && section.path) this.#fail([...where, 'path'], 'cannot specify url & path for file replica');
    if (section.name !== undefined) {
      this.#warn([...where, 'name'], 'name: ignored, as a database has one replica; it can be removed');
    }
    const location: ReplicaLocation | undefined = section.url ?? section.path;
    if (!location) this.#fail(where, 'file replica path required');
    const syncIntervalMs = section['sync-interval'] ?? this.#file['sync-interval'] ?? DEFAULT_SYNC_INTERVAL_MS;
    return { ...location, syncIntervalMs };
  }

  /** One database listed twice would be captured twice; two databases in one folder would overwrite each other's files. */
  #checkTwice(dbs: readonly DatabaseConfig[]): void {
    const paths = dbs.map((database) => resolveDatabasePath(database.path));
    const replicas = dbs.map((database) => realPath(database.replica.path));
    const metaPaths = dbs.map((database) => database.metaPath && realPath(database.metaPath));
    dbs.forEach((database, index) => {
      const samePath = paths.indexOf(paths[index] ?? '');
      if (samePath < index) {
        this.#fail(['dbs', index, 'path'], `dbs[${index}].path: ${database.path} is dbs[${samePath}] already`);
      }
      const sameMeta = database.metaPath === undefined ? index : metaPaths.indexOf(metaPaths[index]);
      if (sameMeta < index) {
        const message = `dbs[${index}] and dbs[${sameMeta}] have the same meta-path, ${database.metaPath}`;
        this.#fail(['dbs', index, 'meta-path'], message, 'give each database a folder of its own');
      }
      const sameReplica = replicas.indexOf(replicas[index] ?? '');
      if (sameReplica < index) {
        const message = `dbs[${index}] and dbs[${sameReplica}] have the same replica, ${database.replica.url}`;
        this.#fail(['dbs', index, 'replica'], message, 'give each database a folder of its own');
      }
    });
  }

  /** Litestream applies a database's snapshot setting to all of them, so two of them must agree. */
  #checkSnapshots(key: 'interval' | 'retention'): void {
    if (this.#file.snapshot?.[key] !== undefined) return;
    const set = (this.#file.dbs ?? []).flatMap((section, index) => {
      const ms = section.snapshot?.[key];
      return ms === undefined ? [] : [{ index, path: section.path, ms }];
    });
    const other = set.find(({ ms }) => ms !== set[0]?.ms);
    if (!set[0] || !other) return;
    const sides = [set[0], other].map(({ path, ms }) => `${path} has ${formatDuration(ms)}`).join(', ');
    this.#fail(['dbs', other.index, 'snapshot', key], `conflicting database snapshot ${key}s: ${sides}`);
  }

  #warn(path: Path, message: string): void {
    const { line, column } = this.#tree.placeOfKey(path);
    this.#warnings.push(`${this.#path}:${line}:${column}: ${message}`);
  }

  #fail(path: Path, message: string, next?: string): never {
    const place = this.#tree.placeOf(path);
    throw new ConfigError(this.#path, [{ ...place, code: 'CONFIG_VALUE', message, next }]);
  }
}

function orInfinity(value: number | undefined): number | undefined {
  return value === 0 ? Number.POSITIVE_INFINITY : value;
}

/** Litestream's reading: 0 is the default, a negative number turns it off. */
function truncatePageCount(value: number | undefined): number | undefined {
  if (value === undefined || value === 0) return undefined;
  return value < 0 ? Number.POSITIVE_INFINITY : value;
}

type Present<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the keys whose value is undefined, so that spreading it keeps defaults. */
function withoutAbsent<T extends object>(values: T): Present<T> {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Present<T>; // only keys of T, none of them undefined
}
