import { pathToFileURL } from 'node:url';
import { RivuletError } from '../base/errors.ts';
import { notBuilt } from './not-built.ts';
import { expandPath, isReplicaUrl, printableUrl } from './paths.ts';
import { resolveS3Url } from './resolve-s3.ts';
import type { S3Location } from './s3-location.ts';
import { parseS3Url } from './s3-url.ts';
import { invalidUrl } from './url-error.ts';

/** A replica in a folder. `url` is its one canonical spelling. */
export interface FileLocation {
  readonly type: 'file';
  /** Absolute. */
  readonly path: string;
  readonly url: string;
}

/** Where a replica is. */
export type ReplicaLocation = FileLocation | S3Location;

/** The kinds of store that Litestream has, by URL scheme. */
export const REPLICA_TYPES = ['file', 's3', 'gs', 'abs', 'sftp', 'webdav', 'webdavs', 'nats', 'oss'] as const;
export const BUILT_REPLICA_TYPES: readonly string[] = ['file', 's3'];

/**
 * Reads a replica URL. A path without a scheme is a folder. Throws REPLICA_URL_INVALID, REPLICA_TYPE_UNKNOWN, or
 * NOT_BUILT for a kind of store that only Litestream has.
 */
export function parseReplicaUrl(typed: string): ReplicaLocation {
  if (!isReplicaUrl(typed)) return fileLocation(checkFolder(typed));
  const scheme = schemeOf(typed);
  checkReplicaType(scheme);
  return scheme === 's3' ? resolveS3Url(parseS3Url(typed)) : fileLocation(folderOfFileUrl(typed));
}

/** The scheme of a URL: the type of its replica. */
export function schemeOf(url: string): string {
  return url.slice(0, url.indexOf(':')).toLowerCase();
}

/** Refuses a type (or scheme) that there is no store for. */
export function checkReplicaType(type: string): void {
  if (BUILT_REPLICA_TYPES.includes(type)) return;
  if (REPLICA_TYPES.some((known) => known === type)) throw notBuilt(`the replica type \`${type}\``);
  throw new RivuletError({
    code: 'REPLICA_TYPE_UNKNOWN',
    message: `unknown replica type: "${type}"`,
    next: `use ${BUILT_REPLICA_TYPES.join(', ')}; Litestream's ${REPLICA_TYPES.filter((known) => !BUILT_REPLICA_TYPES.includes(known)).join(', ')} are not built yet`,
  });
}

/** `s3:bucket` is hardly meant to be a folder of that name. */
function checkFolder(typed: string): string {
  const [scheme = ''] = typed.split(':', 1);
  if (!typed.includes(':') || !REPLICA_TYPES.some((known) => known === scheme)) return typed;
  throw invalidUrl(`not a URL: ${printableUrl(typed)}`, `two slashes follow the colon: ${scheme}://…`);
}

/** A replica in the folder at `typed`. */
export function fileLocation(typed: string): FileLocation {
  if (typed === '') throw invalidUrl('file replica path required');
  if (typed.includes('\0')) throw invalidUrl(`not a path: ${JSON.stringify(typed)}`);
  // `/backups/app-$X` and `/backups/$X/app` with an empty variable must not end up in a neighbour's folder.
  if (typed.includes('//')) {
    throw invalidUrl(`the path has an empty part: ${typed}`, 'write one slash, or look for a variable that is empty');
  }
  const path = expandPath(typed);
  if (path === '/')
    throw invalidUrl('the root folder cannot be a replica', 'name a folder of its own for each database');
  return { type: 'file', path, url: pathToFileURL(path).href };
}

export function folderOfFileUrl(url: string): string {
  const rest = url.replace(/^file:(\/\/(localhost(?=\/))?)?/, '');
  if (/[?#]/.test(rest)) {
    throw invalidUrl(
      `a file URL takes no parameters: ${printableUrl(url)}`,
      'write %3F for a question mark and %23 for a # in the path',
    );
  }
  if (rest !== '' && !rest.startsWith('/')) {
    throw invalidUrl(`not an absolute path: ${printableUrl(url)}`, `file URLs have three slashes: file:///${rest}`);
  }
  try {
    return decodeURIComponent(rest);
  } catch {
    throw invalidUrl(`not percent-encoded: ${printableUrl(url)}`, 'write %25 for a percent sign in the path');
  }
}
