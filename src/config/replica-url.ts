import { pathToFileURL } from 'node:url';
import { RivuletError } from '../base/errors.ts';
import { notBuilt } from './not-built.ts';
import { expandPath, isReplicaUrl } from './paths.ts';

/** Where a replica is. `url` is its one canonical spelling, without secrets. */
export interface FileLocation {
  readonly type: 'file';
  /** Absolute. */
  readonly path: string;
  readonly url: string;
}

export type ReplicaLocation = FileLocation;

/** The kinds of store that Litestream has, by URL scheme. */
export const REPLICA_TYPES = ['file', 's3', 'gs', 'abs', 'sftp', 'webdav', 'webdavs', 'nats', 'oss'] as const;
export const BUILT_REPLICA_TYPES: readonly string[] = ['file'];

/**
 * Reads a replica URL. A path without a scheme is a folder. Throws REPLICA_URL_INVALID, REPLICA_TYPE_UNKNOWN, or
 * NOT_BUILT for a kind of store that only Litestream has.
 */
export function parseReplicaUrl(typed: string): ReplicaLocation {
  if (!isReplicaUrl(typed)) return fileLocation(typed);
  const [scheme = ''] = typed.split(':', 1);
  checkReplicaType(scheme);
  return fileLocation(folderOfFileUrl(typed));
}

/** Refuses a type (or scheme) that there is no store for. */
export function checkReplicaType(type: string): void {
  if (BUILT_REPLICA_TYPES.includes(type)) return;
  if (REPLICA_TYPES.some((known) => known === type)) throw notBuilt(`the replica type \`${type}\``);
  throw new RivuletError({
    code: 'REPLICA_TYPE_UNKNOWN',
    message: `unknown replica type: "${type}"`,
    next: `use ${BUILT_REPLICA_TYPES.join(', ')}; Litestream's ${REPLICA_TYPES.slice(1).join(', ')} are not built yet`,
  });
}

/** A replica in the folder at `typed`. */
export function fileLocation(typed: string): FileLocation {
  if (typed === '') throw invalid('file replica path required');
  if (typed.includes('\0')) throw invalid(`not a path: ${JSON.stringify(typed)}`);
  // `/backups/app-$X` and `/backups/$X/app` with an empty variable must not end up in a neighbour's folder.
  if (typed.includes('//')) {
    throw invalid(`the path has an empty part: ${typed}`, 'write one slash, or look for a variable that is empty');
  }
  const path = expandPath(typed);
  if (path === '/') throw invalid('the root folder cannot be a replica', 'name a folder of its own for each database');
  return { type: 'file', path, url: pathToFileURL(path).href };
}

function folderOfFileUrl(url: string): string {
  const rest = url.replace(/^file:(\/\/(localhost(?=\/))?)?/, '');
  if (/[?#]/.test(rest)) {
    throw invalid(
      `a file URL takes no parameters: ${url}`,
      'write %3F for a question mark and %23 for a # in the path',
    );
  }
  if (rest !== '' && !rest.startsWith('/')) {
    throw invalid(`not an absolute path: ${url}`, `file URLs have three slashes: file:///${rest}`);
  }
  try {
    return decodeURIComponent(rest);
  } catch {
    throw invalid(`not percent-encoded: ${url}`, 'write %25 for a percent sign in the path');
  }
}

function invalid(message: string, next?: string): RivuletError {
  return new RivuletError({ code: 'REPLICA_URL_INVALID', message, ...(next && { next }) });
}
