import { withDatabaseFile } from '../base/database-files.ts';
import { readFully } from '../base/durable-file.ts';
import { hasCode, RivuletError } from '../base/errors.ts';
import { DATABASE_HEADER_SIZE, type HeaderReading, readDatabaseHeader } from '../sqlite/database-header.ts';
import { isNotADatabase } from '../sqlite/sqlite-error.ts';
import { switchToWal } from './connections.ts';

/** What stands at a path, before a capture opens it. All but `ready` is worth looking at again later. */
export type Inspection =
  | { readonly kind: 'ready'; readonly pageSize: number; readonly switchedToWal: boolean }
  | { readonly kind: 'not-ready'; readonly reason: string }
  | { readonly kind: 'hindered'; readonly reason: string };

/** Looks at a database and puts it into WAL mode where it is not. Throws what only a person can mend. */
export function inspectDatabase(path: string, setWal: boolean, patienceMs: number): Inspection {
  const reading = readHeader(path);
  if (!reading) return { kind: 'not-ready', reason: 'there is no database yet' };
  if (reading.kind === 'empty') return { kind: 'not-ready', reason: 'the database is empty' };
  if (reading.kind === 'not-a-database') throw notADatabase(path);
  const { pageSize, walMode } = reading.header;
  if (walMode) return { kind: 'ready', pageSize, switchedToWal: false };
  if (!setWal) {
    throw new RivuletError({
      code: 'NOT_IN_WAL_MODE',
      message: `${path} is in rollback-journal mode, and set-wal is false`,
      kept: 'the database was not changed',
      next: `sqlite3 ${path} 'PRAGMA journal_mode=wal', or leave out set-wal`,
    });
  }
  try {
    const outcome = switchToWal(path, patienceMs);
    if (outcome === 'busy')
      return { kind: 'hindered', reason: 'the database is busy, it cannot be switched to WAL mode' };
    return { kind: 'ready', pageSize, switchedToWal: outcome === 'switched' };
  } catch (error) {
    if (isNotADatabase(error)) throw notADatabase(path);
    throw error;
  }
}

function readHeader(path: string): HeaderReading | undefined {
  try {
    return withDatabaseFile(path, (fd) => {
      const bytes = new Uint8Array(DATABASE_HEADER_SIZE);
      return readDatabaseHeader(bytes.subarray(0, readFully(fd, bytes, 0)));
    });
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

function notADatabase(path: string): RivuletError {
  return new RivuletError({
    code: 'NOT_A_DATABASE',
    message: `${path} is not a SQLite database, or it is encrypted as a whole (SQLCipher, SEE)`,
    kept: 'the file was not changed',
    next: 'check the path; encrypted databases cannot be replicated',
  });
}
