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

/** The primary SQLite result code of an error; undefined for anything else. */
export function sqliteCode(error: unknown): number | undefined {
  if (!hasCode(error, 'ERR_SQLITE_ERROR')) return undefined;
  const { errcode } = error as { errcode?: unknown }; // node:sqlite puts the extended result code there
  return typeof errcode === 'number' ? errcode & 0xff : undefined;
}

/** Another connection is in the way. */
export function isBusy(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === SQLITE.busy || code === SQLITE.locked;
}

export function isNotADatabase(error: unknown): boolean {
  return sqliteCode(error) === SQLITE.notADatabase;
}
