import { realPath, resolveDatabasePath } from '../base/database-files.ts';
import { RivuletError } from '../base/errors.ts';
import {
  CONFIG_DEFAULTS,
  type Config,
  DATABASE_DEFAULTS,
  type DatabaseConfig,
  type LoggingConfig,
  REPLICA_DEFAULTS,
  type ReplicaConfig,
} from './config.ts';
import { ConfigError, type Place } from './config-error.ts';
import { formatDuration } from './duration.ts';
import { isReplicaUrl } from './paths.ts';
import { checkReplicaType, fileLocation, parseReplicaUrl, type ReplicaLocation, schemeOf } from './replica-url.ts';
import { resolveS3Path, resolveS3Url, S3SettingError } from './resolve-s3.ts';
import { parseS3Url } from './s3-url.ts';
import type { ConfigFile, DatabaseSection, ReplicaSection } from './schema.ts';
import { storesOf } from './store-keys.ts';
import {
  DATABASE_WARNINGS,
  NOTHING_REMOVED,
  OLD_REPLICA_WARNINGS,
  REPLICA_WARNINGS,
  TOP_WARNINGS,
} from './unbuilt-keys.ts';
import { printableUrl } from './url-error.ts';
import type { Path, YamlTree } from './yaml-tree.ts';

/** Fills in the defaults, and checks what only several values together can tell. */
export function resolveConfig(file: ConfigFile, path: string, tree: YamlTree): Config {
  return new Resolver(file, path, tree).resolve();
}

class Resolver {
  readonly #file: ConfigFile;
  readonly #path: string;
  readonly #tree: YamlTree;
  readonly #warnings: (Place & { readonly message: string })[] = [];

  constructor(file: ConfigFile, path: string, tree: YamlTree) {
    this.#file = file;
    this.#path = path;
    this.#tree = tree;
  }

  resolve(): Config {
    const file = this.#file;
    this.#warnOfAll({ ...TOP_WARNINGS, ...REPLICA_WARNINGS }, file, []);
    if (file.retention?.enabled) this.#warn(['retention', 'enabled'], `retention.enabled: ${NOTHING_REMOVED}`);
    if (file.socket?.enabled) this.#warn(['socket', 'enabled'], 'socket.enabled: nothing listens there: not built yet');
    if (file.logging?.source) this.#warn(['logging', 'source'], 'logging.source: nothing acts on it');
    const dbs = (file.dbs ?? []).map((section, index) => this.#database(section, index));
    this.#checkTwice(dbs);
    this.#checkSnapshots('interval');
    this.#checkSnapshots('retention');
    return {
      dbs,
      exec: file.exec || CONFIG_DEFAULTS.exec,
      logging: loggingOf(file),
      shutdownSyncTimeoutMs: file['shutdown-sync-timeout'] ?? CONFIG_DEFAULTS.shutdownSyncTimeoutMs,
      shutdownSyncIntervalMs: file['shutdown-sync-interval'] ?? CONFIG_DEFAULTS.shutdownSyncIntervalMs,
      warnings: [...this.#warnings]
        .sort((a, b) => a.line - b.line || a.column - b.column)
        .map(({ line, column, message }) => `${this.#path}:${line}:${column}: ${message}`),
      path: this.#path,
    };
  }

  #database(section: DatabaseSection, index: number): DatabaseConfig {
    const where = ['dbs', index];
    if (section.path === undefined) this.#fail(where, `database config #${index + 1}: must specify 'path'`);
    this.#warnOfAll(DATABASE_WARNINGS, section, where, `dbs[${index}].`);
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
    this.#warnOfAll({ ...REPLICA_WARNINGS, ...OLD_REPLICA_WARNINGS }, section, where);
    const all = { ...withoutAbsent(this.#file), ...withoutAbsent(section) };
    const { limits } = REPLICA_DEFAULTS;
    return {
      ...this.#location(section, where),
      syncIntervalMs: all['sync-interval'] ?? REPLICA_DEFAULTS.syncIntervalMs,
      limits: {
        maxConnections: all['max-connections'] ?? limits.maxConnections,
        uploadBytesPerSecond: all['upload-limit'] ?? limits.uploadBytesPerSecond,
        downloadBytesPerSecond: all['download-limit'] ?? limits.downloadBytesPerSecond,
      },
    };
  }

  #location(section: ReplicaSection, where: Path): ReplicaLocation {
    const { path, url } = section;
    const type = this.#typeOf(section, where);
    this.#checkKeys(section, type, where);
    for (const key of ['url', 'path'] as const) this.#checkWhole([...where, key]);
    if (path && isReplicaUrl(path)) {
      const message = `replica path cannot be a url, please use the 'url' field instead: ${printableUrl(path)}`;
      this.#fail([...where, 'path'], message);
    }
    if (url && path) this.#fail([...where, 'path'], `cannot specify url & path for ${type} replica`);
    if (url && section.bucket) this.#fail([...where, 'bucket'], `cannot specify url & bucket for ${type} replica`);
    if (type === 'file' && !url && !path) this.#fail(where, 'file replica path required');
    try {
      if (type !== 's3') return url ? parseReplicaUrl(url) : fileLocation(path ?? '');
      return url ? resolveS3Url(parseS3Url(url), this.#file, section) : resolveS3Path(path ?? '', this.#file, section);
    } catch (error) {
      if (!(error instanceof RivuletError)) throw error;
      const place = this.#placeOfFault(error, section, where);
      throw new ConfigError(this.#path, [{ ...place, code: error.code, message: error.message, next: error.next }]);
    }
  }

  /** A URL says what it is; beside it `type` is of no account, as in Litestream. */
  #typeOf({ type, url }: ReplicaSection, where: Path): string {
    if (!url) return type ?? 'file';
    if (!isReplicaUrl(url)) {
      if (type && type !== 'file') this.#fail([...where, 'url'], `not a URL, which begins with ${type}://`);
      return 'file';
    }
    const scheme = schemeOf(url);
    try {
      checkReplicaType(scheme);
    } catch (error) {
      if (!(error instanceof RivuletError)) throw error;
      const place = this.#tree.placeOf([...where, 'url']);
      throw new ConfigError(this.#path, [{ ...place, code: error.code, message: error.message, next: error.next }]);
    }
    return scheme;
  }

  /** A key of another kind of store is a slip: what it asks for, encryption for one, would not be so. */
  #checkKeys(section: ReplicaSection, type: string, where: Path): void {
    for (const [key, value] of Object.entries(section)) {
      const stores = value === undefined || value === '' ? undefined : storesOf(key);
      if (!stores || stores.includes(type)) continue;
      const missing = section.type === undefined && !section.url && stores.includes('s3');
      const place = this.#tree.placeOfKey([...where, key]);
      const message = `${key}: a replica of type ${type} has no such key`;
      const next = missing ? 'add `type: s3`' : `it is one of ${stores.join(', ')}`;
      throw new ConfigError(this.#path, [{ ...place, code: 'CONFIG_VALUE', message, next }]);
    }
  }

  /** Without its variables a path leads to a neighbour's files, or to those of all. */
  #checkWhole(path: Path): void {
    if (!this.#tree.hasEmptiedPart(path)) return;
    this.#fail(path, `the ${path.at(-1)} has an empty part, as a variable in it is empty`, 'give the variable a value');
  }

  #placeOfFault(error: RivuletError, section: ReplicaSection, where: Path): Place {
    const key = error instanceof S3SettingError ? error.key : undefined;
    if (key !== undefined && section[key] !== undefined) return this.#tree.placeOf([...where, key]);
    const isInherited = key !== undefined && key !== 'path' && this.#file[key] !== undefined;
    if (isInherited) return this.#tree.placeOf([key]);
    return this.#tree.placeOf([...where, section.url ? 'url' : 'path']);
  }

  /** One database listed twice would be captured twice; two databases in one folder would overwrite each other's files. */
  #checkTwice(dbs: readonly DatabaseConfig[]): void {
    const paths = dbs.map((database) => resolveDatabasePath(database.path));
    const replicas = dbs.map(({ replica }) => (replica.type === 'file' ? realPath(replica.path) : replica.url));
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
        this.#fail(['dbs', index, 'replica'], message, 'give each database a path of its own');
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

  #warnOfAll(reasons: Readonly<Record<string, string>>, section: object, where: Path, prefix = ''): void {
    for (const [key, value] of Object.entries(section)) {
      const reason = Object.hasOwn(reasons, key) ? reasons[key] : undefined;
      const isOff = value === undefined || value === false || value === '';
      if (reason && !isOff) this.#warn([...where, key], `${prefix}${key}: ${reason}`);
    }
  }

  #warn(path: Path, message: string): void {
    this.#warnings.push({ ...this.#tree.placeOfKey(path), message });
  }

  #fail(path: Path, message: string, next?: string): never {
    const place = this.#tree.placeOf(path);
    throw new ConfigError(this.#path, [{ ...place, code: 'CONFIG_VALUE', message, next }]);
  }
}

function loggingOf(file: ConfigFile): LoggingConfig {
  const { source, ...given } = file.logging ?? {};
  return { ...CONFIG_DEFAULTS.logging, ...withoutAbsent(given) };
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
