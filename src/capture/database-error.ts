import { RivuletError } from '../base/errors.ts';
import { SQLITE, sqliteCode } from '../sqlite/sqlite-error.ts';
import { Discontinuity, NotReady } from './interruptions.ts';

const NEEDS_WRITING =
  'give the user that runs this write access to the database and its folder: SQLite keeps the -wal and -shm there';

/** What SQLite's primary result codes mean to the person whose database it is. */
const NEXT: Readonly<Record<number, string>> = {
  [SQLITE.readOnly]: NEEDS_WRITING,
  [SQLITE.cannotOpen]: NEEDS_WRITING,
  [SQLITE.io]: 'look at the disk: is it full, or failing?',
  [SQLITE.full]: 'free some space on the disk of the database',
  [SQLITE.corrupt]: `the file is damaged or cut off: restore it from a backup, or try sqlite3's .recover`,
};

/** Where the files of one database are. */
export interface DatabasePlace {
  readonly path: string;
  readonly metaPath: string;
}

/** An error of SQLite or of the system, told to people and with the name of what it is about; others stay as they are. */
export function asDatabaseError(error: unknown, { path, metaPath }: DatabasePlace): unknown {
  if (!(error instanceof Error) || error instanceof RivuletError) return error;
  if (error instanceof NotReady || error instanceof Discontinuity) return error;
  const code = sqliteCode(error);
  if (code !== undefined) {
    return new RivuletError({
      code: 'DATABASE_UNREADABLE',
      message: `${path} cannot be read: SQLite says "${error.message}"`,
      kept: 'the database was not changed',
      next: NEXT[code] ?? 'see whether `sqlite3` can open it',
      cause: error,
    });
  }
  if (!('syscall' in error)) return error;
  const file = 'path' in error && typeof error.path === 'string' ? error.path : undefined;
  if (file?.startsWith(metaPath) || (file === undefined && error.syscall !== 'read')) {
    return localFolderError(error, metaPath);
  }
  return new RivuletError({
    code: 'DATABASE_UNREADABLE',
    message: `${path} cannot be read: ${error.message}`,
    kept: 'the database was not changed',
    next: 'give the user that runs this access to the database and its folder',
    cause: error,
  });
}

/** The system's refusal of something in Rivulet's own folder; errors of ours stay as they are. */
export function asLocalFolderError(error: unknown, metaPath: string): unknown {
  const isOfSystem = error instanceof Error && !(error instanceof RivuletError);
  const isKnown = isOfSystem && ('syscall' in error || sqliteCode(error) !== undefined);
  return isKnown ? localFolderError(error, metaPath) : error;
}

function localFolderError(cause: Error, metaPath: string): RivuletError {
  return new RivuletError({
    code: 'LOCAL_FOLDER_UNUSABLE',
    message: `Rivulet's folder ${metaPath} cannot be used: ${cause.message}`,
    kept: 'the database and the replica are as they were',
    next: 'give the user that runs this write access to it, or name another folder as meta-path',
    cause,
  });
}
