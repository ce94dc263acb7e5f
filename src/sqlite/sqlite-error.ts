import { hasCode } from '../base/errors.ts';

/** SQLite's primary result codes that are told apart. */
export const SQLITE = {
  busy: 5,
  locked: 6,
  readOnly: 8,
  io: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  notADatabase: 26,
} as const;

/** SQLITE_READONLY_DBMOVED */
const MOVED = 1032;

/** The primary SQLite result code of an error; undefined for anything else. */
export function sqliteCode(error: unknown): number | undefined {
  const code = extendedCode(error);
  return code === undefined ? undefined : code & 0xff;
}

function extendedCode(error: unknown): number | undefined {
  if (!hasCode(error, 'ERR_SQLITE_ERROR')) return undefined;
  const { errcode } = error as { errcode?: unknown }; // node:sqlite puts the extended result code there
  return typeof errcode === 'number' ? errcode : undefined;
}

/** Another connection is in the way. */
export function isBusy(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === SQLITE.busy || code === SQLITE.locked;
}

/** The file has another name by now, or none: what is there under the old one is another file. */
export function isMoved(error: unknown): boolean {
  return extendedCode(error) === MOVED;
}

export function isNotADatabase(error: unknown): boolean {
  return sqliteCode(error) === SQLITE.notADatabase;
}
