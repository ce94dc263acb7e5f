import { homedir } from 'node:os';
import { resolve } from 'node:path';

const DATABASE_SCHEME = /^sqlite3?:\/\//;

/** Makes a path that someone typed absolute: without `sqlite://` or `sqlite3://`, `~` and `~/…` below the home folder. */
export function expandPath(typed: string): string {
  const path = typed.replace(DATABASE_SCHEME, '');
  if (path === '~' || path.startsWith('~/')) return resolve(homedir(), path.slice(2));
  return resolve(path);
}

/** True for `scheme://…`, which names a replica, and for `file:/…`; a database's own `sqlite://` is a path. */
export function isReplicaUrl(typed: string): boolean {
  return /^(\w+:\/\/|file:\/)/.test(typed) && !DATABASE_SCHEME.test(typed);
}

/** A URL as it may be printed: without user, password and parameters, each of which can be a secret. */
export function printableUrl(url: string): string {
  return url.replace(/[?#].*$/s, '?…').replace(/^(\w+:\/\/).*@/s, '$1…@');
}
