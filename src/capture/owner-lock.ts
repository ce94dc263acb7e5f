import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { RivuletError } from '../base/errors.ts';
import { isBusy } from './connections.ts';

/** Held while a process replicates a database. It ends with the process, however that ends. */
export interface OwnerLock {
  [Symbol.dispose](): void;
}

/**
 * Makes this process the only one that replicates a database: two would write the same local state and the same TXIDs.
 * The lock is SQLite's own, on an empty database in Rivulet's folder: the system drops it when the process dies, so there
 * is no stale lock to clean up. Throws ALREADY_REPLICATED.
 */
export function lockOwner(databasePath: string, metaPath: string): OwnerLock {
  mkdirSync(metaPath, { recursive: true, mode: 0o700 });
  const connection = new DatabaseSync(join(metaPath, 'lock'), { timeout: 0 });
  try {
    connection.exec('BEGIN EXCLUSIVE');
    return { [Symbol.dispose]: () => connection.close() };
  } catch (error) {
    connection.close();
    if (!isBusy(error)) throw error;
    throw new RivuletError({
      code: 'ALREADY_REPLICATED',
      message: `another process on this machine replicates ${databasePath} already`,
      kept: 'that process goes on undisturbed',
      next: 'stop it first, or leave it to its work',
    });
  }
}
