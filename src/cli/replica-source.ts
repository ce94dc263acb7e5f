import { RivuletError } from '../base/errors.ts';
import type { Config, DatabaseConfig } from '../config/config.ts';
import { expandPath, isReplicaUrl } from '../config/paths.ts';
import type { ReplicaLocation } from '../config/replica-url.ts';
import { usageError } from './args.ts';

/** The replica that a command is to read. */
export interface ReplicaSource {
  readonly location: ReplicaLocation;
  /** The database of the configuration that it belongs to; undefined when it was named by its URL. */
  readonly database: DatabaseConfig | undefined;
}

export interface SourceFlags {
  readonly config: string | undefined;
  readonly 'no-expand-env': boolean;
}

/** A URL and a configuration are two answers to one question. */
export function checkSourceFlags(argument: string, flags: SourceFlags): void {
  if (isReplicaUrl(argument) && flags.config !== undefined) {
    throw usageError('cannot specify a replica URL and the -config flag', 'leave one of them out');
  }
}

/** Finds the replica that `argument` names: by its URL, or by the path of its database in the configuration. */
export async function findReplica(argument: string, flags: SourceFlags): Promise<ReplicaSource> {
  checkSourceFlags(argument, flags);
  if (isReplicaUrl(argument)) {
    const { parseReplicaUrl } = await import('../config/replica-url.ts');
    return { location: parseReplicaUrl(argument), database: undefined };
  }
  const { loadConfig } = await import('../config/load-config.ts');
  const config = loadConfig({ path: flags.config, expandEnv: !flags['no-expand-env'] });
  const database = findDatabase(config, expandPath(argument));
  return { location: database.replica, database };
}

function findDatabase(config: Config, path: string): DatabaseConfig {
  const database = config.dbs.find((candidate) => candidate.path === path);
  if (database) return database;
  const known = config.dbs.map((candidate) => candidate.path).join(', ');
  throw new RivuletError({
    code: 'DATABASE_NOT_IN_CONFIG',
    message: `database not found in config: ${path}`,
    next: known ? `one of those in ${config.path}: ${known}` : `add it to ${config.path}, or name its replica by URL`,
  });
}
