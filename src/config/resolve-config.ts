import { realPath, resolveDatabasePath } from '../base/database-files.ts';
import {
  CONFIG_DEFAULTS,
  type Config,
  DATABASE_DEFAULTS,
  type DatabaseConfig,
  type LoggingConfig,
  type ReplicaConfig,
} from './config.ts';
import { ConfigReport } from './config-report.ts';
import { formatDuration } from './duration.ts';
import { type ListenAddress, parseListenAddress } from './listen-address.ts';
import { resolveReplica } from './resolve-replica.ts';
import type { ConfigFile, DatabaseSection } from './schema.ts';
import { DATABASE_WARNINGS, NOTHING_REMOVED, REPLICA_WARNINGS, TOP_WARNINGS } from './unbuilt-keys.ts';
import type { Path, YamlTree } from './yaml-tree.ts';

/** Fills in the defaults, and checks what only several values together can tell. */
export function resolveConfig(file: ConfigFile, path: string, tree: YamlTree): Config {
  return new Resolver(file, new ConfigReport(path, tree)).resolve();
}

class Resolver {
  readonly #file: ConfigFile;
  readonly #report: ConfigReport;

  constructor(file: ConfigFile, report: ConfigReport) {
    this.#file = file;
    this.#report = report;
  }

  resolve(): Config {
    const file = this.#file;
    this.#report.warnOfAll({ ...TOP_WARNINGS, ...REPLICA_WARNINGS }, file, []);
    if (file.retention?.enabled) this.#report.warn(['retention', 'enabled'], `retention.enabled: ${NOTHING_REMOVED}`);
    if (file.socket?.enabled)
      this.#report.warn(['socket', 'enabled'], 'socket.enabled: nothing listens there: not built yet');
    if (file.logging?.source) this.#report.warn(['logging', 'source'], 'logging.source: nothing acts on it');
    const dbs = (file.dbs ?? []).map((section, index) => this.#database(section, index));
    this.#checkTwice(dbs);
    this.#checkSnapshots('interval');
    this.#checkSnapshots('retention');
    return {
      dbs,
      exec: file.exec || CONFIG_DEFAULTS.exec,
      logging: loggingOf(file),
      addr: file.addr === undefined || file.addr === '' ? undefined : this.#listenAddress(file.addr),
      shutdownSyncTimeoutMs: file['shutdown-sync-timeout'] ?? CONFIG_DEFAULTS.shutdownSyncTimeoutMs,
      shutdownSyncIntervalMs: file['shutdown-sync-interval'] ?? CONFIG_DEFAULTS.shutdownSyncIntervalMs,
      warnings: this.#report.warnings,
      path: this.#report.path,
    };
  }

  #listenAddress(text: string): ListenAddress {
    const address = parseListenAddress(text);
    if (address) return address;
    return this.#report.fail(
      ['addr'],
      `addr: "${text}" is not an address to listen on`,
      'write host:port, or :port for every address of this machine',
    );
  }

  #database(section: DatabaseSection, index: number): DatabaseConfig {
    const where = ['dbs', index];
    if (section.path === undefined) this.#report.fail(where, `database config #${index + 1}: must specify 'path'`);
    this.#report.warnOfAll(DATABASE_WARNINGS, section, where, `dbs[${index}].`);
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
      if (replicas) this.#report.fail([...where, 'replicas'], "cannot specify 'replica' and 'replicas' on a database");
      return resolveReplica(replica, this.#file, [...where, 'replica'], this.#report);
    }
    const [first, second] = replicas ?? [];
    if (!first) this.#report.fail(where, 'must specify replica for database');
    if (second) {
      this.#report.fail([...where, 'replicas', 1], 'multiple replicas on a single database are no longer supported');
    }
    return resolveReplica(first, this.#file, [...where, 'replicas', 0], this.#report);
  }

  /** One database listed twice would be captured twice; two databases in one folder would overwrite each other's files. */
  #checkTwice(dbs: readonly DatabaseConfig[]): void {
    const paths = dbs.map((database) => resolveDatabasePath(database.path));
    const replicas = dbs.map(({ replica }) => (replica.type === 'file' ? realPath(replica.path) : replica.url));
    const metaPaths = dbs.map((database) => database.metaPath && realPath(database.metaPath));
    dbs.forEach((database, index) => {
      const samePath = paths.indexOf(paths[index] ?? '');
      if (samePath < index) {
        this.#report.fail(['dbs', index, 'path'], `dbs[${index}].path: ${database.path} is dbs[${samePath}] already`);
      }
      const sameMeta = database.metaPath === undefined ? index : metaPaths.indexOf(metaPaths[index]);
      if (sameMeta < index) {
        const message = `dbs[${index}] and dbs[${sameMeta}] have the same meta-path, ${database.metaPath}`;
        this.#report.fail(['dbs', index, 'meta-path'], message, 'give each database a folder of its own');
      }
      const sameReplica = replicas.indexOf(replicas[index] ?? '');
      if (sameReplica < index) {
        const message = `dbs[${index}] and dbs[${sameReplica}] have the same replica, ${database.replica.url}`;
        this.#report.fail(['dbs', index, 'replica'], message, 'give each database a path of its own');
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
    this.#report.fail(['dbs', other.index, 'snapshot', key], `conflicting database snapshot ${key}s: ${sides}`);
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
