import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { makeFoldersDurably } from '../base/durable-file.ts';
import { RivuletError } from '../base/errors.ts';
import { SMALL_CACHE } from '../sqlite/small-cache.ts';
import { isBusy, isNotADatabase } from '../sqlite/sqlite-error.ts';
import { removeStaged, requireOwnFolder } from './own-folder.ts';

/** Held while a process replicates a database. It ends with the process, however that ends. */
export interface OwnerLock {
  [Symbol.dispose](): void;
}

/**
 * Makes this process the only one that replicates a database: two would write the same local state and the same TXIDs.
 * The lock is SQLite's own, on an empty database in Rivulet's folder: the system drops it when the process dies, so there
 * is no stale lock to clean up. Throws ALREADY_REPLICATED, META_PATH_TAKEN.
 */
export function lockOwner(databasePath: string, metaPath: string): OwnerLock {
  requireOwnFolder(databasePath, metaPath);
  makeFoldersDurably(metaPath, 0o700);
  const file = join(metaPath, 'lock');
  try {
    const owner = lock(file);
    removeStaged(metaPath);
    return owner;
  } catch (error) {
    if (isBusy(error)) throw alreadyReplicated(databasePath);
    if (!isNotADatabase(error)) throw error;
  }
  // It holds nothing, so damage to it is mended by making it anew.
  rmSync(file);
  return lock(file);
}

function lock(file: string): OwnerLock {
  const connection = new DatabaseSync(file, { timeout: 0 });
  try {
    // Nothing is ever committed to it: a journal would only need room, which a full disk does not have.
    connection.exec(`${SMALL_CACHE}; PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE`);
    return { [Symbol.dispose]: () => connection.close() };
  } catch (error) {
    connection.close();
    throw error;
  }
}

function alreadyReplicated(databasePath: string): RivuletError {
  return new RivuletError({
    code: 'ALREADY_REPLICATED',
    message: `another process on this machine replicates ${databasePath} already`,
    kept: 'that process goes on undisturbed',
    next: 'stop it first, or leave it to its work',
  });
}
