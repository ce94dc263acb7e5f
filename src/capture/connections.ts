import { fdatasyncSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { closeForCapture, openForCapture } from '../base/database-files.ts';
import { messageOf, RivuletError } from '../base/errors.ts';
import { isBusy, SQLITE, sqliteCode } from '../sqlite/sqlite-error.ts';

/** The disk fails, or is full. */
const DISK_CODES: readonly (number | undefined)[] = [SQLITE.io, SQLITE.full];

export interface CheckpointResult {
  /** It is not complete: another connection stood in the way, or the disk did. */
  readonly busy: boolean;
  /** Why the disk did not take it. */
  readonly failure?: string;
}

/** One SQLite connection of a capture. None of them ever writes to the database. */
export class Connection {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(path: string, readOnly: boolean) {
    // `mode=rw`: a database that has just been removed must not come back as an empty file.
    const url = `${pathToFileURL(path).href}?mode=${readOnly ? 'ro' : 'rw'}`;
    this.#db = new DatabaseSync(url, { readOnly, timeout: 0 });
    this.#db.exec('PRAGMA wal_autocheckpoint=0');
  }

  /** Runs one statement and returns its first row, if it has one. */
  run(sql: string): Record<string, unknown> | undefined {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement.get() as Record<string, unknown> | undefined; // rows are plain objects by default
  }

  /** How long this connection waits for a lock, in ms. It blocks the thread: keep it to a few. */
  patience(ms: number): void {
    this.#db.exec(`PRAGMA busy_timeout=${Math.round(ms)}`);
  }

  /** Starts a read transaction that stands on the newest commit. */
  beginRead(): void {
    this.#db.exec('BEGIN');
    try {
      this.run('SELECT 1 FROM sqlite_schema LIMIT 1');
    } catch (error) {
      this.#db.exec('ROLLBACK');
      throw error;
    }
  }

  /** Ends the transaction that is open, reading or barrier. */
  end(): void {
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
  }

  /** Takes the write lock without writing: nobody can commit until {@link end}. Throws busy. */
  beginBarrier(): void {
    this.#db.exec('BEGIN IMMEDIATE');
  }

  checkpoint(mode: 'PASSIVE' | 'TRUNCATE'): CheckpointResult {
    try {
      const row = this.run(`PRAGMA wal_checkpoint(${mode})`);
      return { busy: row?.busy !== 0 };
    } catch (error) {
      if (isBusy(error)) return { busy: true };
      // What was not backfilled stays in the WAL: a checkpoint that fails loses nothing.
      if (DISK_CODES.includes(sqliteCode(error))) return { busy: true, failure: messageOf(error) };
      throw error;
    }
  }

  close(): void {
    this.#statements.clear();
    this.#db.close();
  }
}

/**
 * Every handle that one capture has on a database: the standing reader and its twin (read-only), the barrier, the
 * checkpointer, and one descriptor each of the database, the WAL-index and the WAL.
 */
export class DatabaseHandles {
  reader: Connection;
  twin: Connection;
  readonly barrier: Connection;
  readonly checkpointer: Connection;
  readonly databaseFd: number;
  readonly walIndexFd: number;
  readonly walFd: number;

  /** Opens everything, or nothing. The database must be in WAL mode. */
  constructor(path: string) {
    const connections: Connection[] = [];
    const descriptors: number[] = [];
    const connect = (readOnly: boolean): Connection => {
      const connection = new Connection(path, readOnly);
      connections.push(connection);
      return connection;
    };
    const describe = (fd: number): number => {
      descriptors.push(fd);
      return fd;
    };
    try {
      this.barrier = connect(false);
      this.checkpointer = connect(false);
      this.reader = connect(true);
      this.twin = connect(true);
      // Reading once makes SQLite create the -wal and the -shm, so that they can be opened below.
      for (const connection of connections) connection.run('SELECT 1 FROM sqlite_schema LIMIT 1');
      this.databaseFd = describe(openForCapture(path));
      this.walIndexFd = describe(openForCapture(`${path}-shm`));
      this.walFd = describe(openForCapture(`${path}-wal`));
    } catch (error) {
      // Connections first: closing a descriptor drops the locks of any connection that is still open.
      for (const connection of connections) connection.close();
      for (const fd of descriptors) closeForCapture(fd);
      throw error;
    }
  }

  /** What checkpoints wrote to the database file is on the disk then. */
  syncDatabase(): void {
    fdatasyncSync(this.databaseFd);
  }

  /** The twin becomes the standing reader, and the reader the twin. */
  swapReaders(): void {
    [this.reader, this.twin] = [this.twin, this.reader];
  }

  /**
   * Closes all of it. The writing connections first: the last one to close checkpoints and deletes the WAL, commits that
   * were not captured included, unless it is read-only. Descriptors last: closing one drops the connections' locks.
   */
  close(): void {
    this.barrier.end();
    this.barrier.close();
    this.checkpointer.close();
    for (const connection of [this.twin, this.reader]) {
      connection.end();
      connection.close();
    }
    closeForCapture(this.walFd);
    closeForCapture(this.walIndexFd);
    closeForCapture(this.databaseFd);
  }
}

/** What {@link switchToWal} found: `busy` is worth another try. */
export type WalSwitch = 'already' | 'switched' | 'busy';

/** Puts a database into WAL mode through SQLite, as it is asked for by `set-wal`. */
export function switchToWal(path: string, patienceMs: number): WalSwitch {
  let connection: Connection | undefined;
  try {
    connection = new Connection(path, false);
    connection.patience(patienceMs);
    const before = connection.run('PRAGMA journal_mode')?.journal_mode;
    if (before === 'wal') return 'already';
    const after = connection.run('PRAGMA journal_mode=wal')?.journal_mode;
    if (after === 'wal') return 'switched';
    throw new RivuletError({
      code: 'NO_WAL_MODE',
      message: `${path} cannot be switched to WAL mode: SQLite answers journal_mode=${String(after)}`,
      kept: 'the database was not changed',
      next: 'Rivulet needs a database file in WAL mode, on a local file system',
    });
  } catch (error) {
    if (isBusy(error)) return 'busy';
    throw error;
  } finally {
    connection?.close();
  }
}
