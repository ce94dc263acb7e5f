import { fdatasyncSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { pause } from '../base/async.ts';
import {
  closeForCapture,
  type FileIdentity,
  identify,
  identifyOpen,
  openForCapture,
  sameFile,
} from '../base/database-files.ts';
import { DISK_FULL_CODES, hasCode, messageOf, RivuletError } from '../base/errors.ts';
import { requireSqlite } from '../sqlite/engine.ts';
import { SMALL_CACHE } from '../sqlite/small-cache.ts';
import { isBusy, isMoved, SQLITE, sqliteCode } from '../sqlite/sqlite-error.ts';
import { type CheckpointResult, type CheckpointWork, checkpointElsewhere } from './checkpoint-elsewhere.ts';
import { FileStamp } from './file-stamp.ts';
import { Replaced } from './interruptions.ts';

/** The disk fails, or is full. */
const DISK_CODES: readonly (number | undefined)[] = [SQLITE.io, SQLITE.full];
/** The same from Node. */
const NODE_DISK_CODES = ['EIO', ...DISK_FULL_CODES] as const;

/** Between two tries to switch to WAL mode: in between, nobody is kept from anything. */
const SWITCH_PAUSE_MS = 5;

/** Reads from the database header, and begins a read transaction by that; the schema, however large, is not looked at. */
const READ = 'PRAGMA schema_version';

/** Which SQLite this is. */
const VERSION = 'SELECT sqlite_version() AS version';

function syncFailure(fd: number): string | undefined {
  try {
    fdatasyncSync(fd);
    return undefined;
  } catch (error) {
    if (hasCode(error, ...NODE_DISK_CODES)) return messageOf(error);
    throw error;
  }
}

export type CheckpointMode = 'PASSIVE' | 'RESTART' | 'TRUNCATE';

/** One SQLite connection of a capture. None of them ever writes to the database. `check` is called before it reads anything. */
export class Connection {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  constructor(path: string, readOnly: boolean, check = (): void => undefined) {
    // `mode=rw`: a database that has just been removed must not come back as an empty file.
    const url = `${pathToFileURL(path).href}?mode=${readOnly ? 'ro' : 'rw'}`;
    this.#db = new DatabaseSync(url, { readOnly, timeout: 0 });
    try {
      check();
      this.#db.exec(`PRAGMA wal_autocheckpoint=0; ${SMALL_CACHE}`);
    } catch (error) {
      this.#db.close();
      throw error;
    }
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
      this.run(READ);
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

  checkpoint(mode: CheckpointMode): CheckpointResult {
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

  endAndClose(): void {
    allOf([() => this.end(), () => this.close()]);
  }
}

/**
 * Every handle that one capture has on a database: the standing reader (read-only), one descriptor each of the database, the
 * WAL-index and the WAL; and three connections that are opened when they are needed: the reader's twin (read-only), the
 * barrier and the checkpointer.
 */
export class DatabaseHandles {
  readonly #path: string;
  readonly databaseFd: number;
  readonly walIndexFd: number;
  readonly walFd: number;
  readonly stamp: FileStamp;
  reader: Connection;
  #twin: Connection | undefined;
  #barrier: Connection | undefined;
  #checkpointer: Connection | undefined;
  #checkpoints = 0;

  /** Opens what always has to be open, or nothing. The database must be in WAL mode. */
  constructor(path: string) {
    this.#path = path;
    this.reader = new Connection(path, true);
    const descriptors: number[] = [];
    const describe = (file: string): number => {
      const fd = openForCapture(file);
      descriptors.push(fd);
      return fd;
    };
    try {
      requireSqlite(this.reader.run(VERSION)?.version);
      // Reading once makes SQLite create the -wal and the -shm, so that they can be opened below.
      this.reader.run(READ);
      this.databaseFd = describe(path);
      this.walIndexFd = describe(`${path}-shm`);
      this.walFd = describe(`${path}-wal`);
      this.stamp = new FileStamp(this.databaseFd);
    } catch (error) {
      // The connection first: closing a descriptor drops the locks of any connection that is still open.
      this.reader.close();
      for (const fd of descriptors) closeForCapture(fd);
      throw error;
    }
  }

  get twin(): Connection {
    this.#twin ??= this.#connect(true);
    return this.#twin;
  }

  get barrier(): Connection {
    this.#barrier ??= this.#connect(false);
    return this.#barrier;
  }

  get checkpointer(): Connection {
    this.#checkpointer ??= this.#connect(false);
    return this.#checkpointer;
  }

  /** So many checkpoints were made: nobody else was making one. */
  get checkpoints(): number {
    return this.#checkpoints;
  }

  /** Makes one with the checkpointer. */
  checkpoint(mode: CheckpointMode): CheckpointResult {
    const { checkpointer } = this;
    using _ = this.stamp.writing();
    const result = checkpointer.checkpoint(mode);
    if (!result.busy) this.#checkpoints++;
    return result;
  }

  /** Makes a PASSIVE one in another thread, and syncs the database. Nothing may be closed before it is done. */
  async checkpointElsewhere(): Promise<CheckpointResult> {
    this.#checkpointer ??= this.#connect(false); // see #sync
    const identity = identifyOpen(this.databaseFd);
    const { databaseFd, walFd } = this;
    using _ = this.stamp.writing();
    const result = await checkpointElsewhere({ path: this.#path, identity, databaseFd, walFd });
    if (!result.busy) this.#checkpoints++;
    return result;
  }

  #connect(readOnly: boolean): Connection {
    return connectTo(this.#path, identifyOpen(this.databaseFd), readOnly);
  }

  /** What checkpoints wrote to the database file is on the disk then. Returns why the disk did not take it; undefined when it did. */
  syncDatabase(): string | undefined {
    return this.#sync(this.databaseFd);
  }

  /** The same for what was committed: whoever makes a checkpoint has less of it to sync. */
  syncWal(): string | undefined {
    return this.#sync(this.walFd);
  }

  #sync(fd: number): string | undefined {
    // An error is told to every descriptor once, but not to those that are opened after somebody heard of it: the checkpointer, whose
    // checkpoints count on what is synced, must be older.
    this.#checkpointer ??= this.#connect(false);
    return syncFailure(fd);
  }

  /** Ends all reads. */
  endReads(): void {
    this.#twin?.end();
    this.reader.end();
  }

  /** The twin becomes the standing reader, and the reader the twin. */
  swapReaders(): void {
    [this.reader, this.#twin] = [this.twin, this.reader];
  }

  /** Closes what can be opened again; the standing reader stays. */
  rest(): void {
    const connections = [this.#barrier, this.#checkpointer, this.#twin];
    this.#barrier = undefined;
    this.#checkpointer = undefined;
    this.#twin = undefined;
    allOf(connections.map((connection) => () => connection?.endAndClose()));
  }

  /**
   * Closes all of it. The writing connections first: the last one to close checkpoints and deletes the WAL, commits that
   * were not captured included, unless it is read-only. Descriptors last: closing one drops the connections' locks.
   */
  close(): void {
    const descriptors = [this.walFd, this.walIndexFd, this.databaseFd];
    allOf([() => this.rest(), () => this.reader.endAndClose(), ...descriptors.map((fd) => () => closeForCapture(fd))]);
  }
}

/**
 * By its name, which may be another file's by now: a barrier on that would hold nobody up, so no connection is taken that may not
 * be to the same one. Throws Replaced.
 */
function connectTo(path: string, identity: FileIdentity, readOnly: boolean): Connection {
  const check = (): void => {
    const named = identify(path);
    if (sameFile(named, identity)) return;
    throw new Replaced(named ? 'the database was replaced by another file' : 'the database was removed');
  };
  check();
  const connection = new Connection(path, readOnly, check);
  try {
    connection.run(READ);
    check();
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** One PASSIVE checkpoint with a connection of its own; what it wrote is on the disk then. */
export function checkpointOnce({ path, identity, databaseFd, walFd }: CheckpointWork): CheckpointResult {
  let connection: Connection | undefined;
  try {
    connection = connectTo(path, identity, false);
    // What it opened just now does not hear of errors that others were told of.
    const lost = syncFailure(walFd);
    if (lost !== undefined) return { busy: true, failure: lost };
    const result = connection.checkpoint('PASSIVE');
    const failure = result.failure ?? syncFailure(databaseFd);
    return failure === undefined ? result : { busy: true, failure };
  } catch (error) {
    if (isBusy(error) || error instanceof Replaced) return { busy: true };
    throw error;
  } finally {
    connection?.close();
  }
}

/** Does all of it, one after the other; throws the first error when everything is done. */
function allOf(steps: readonly (() => void)[]): void {
  const errors: unknown[] = [];
  for (const step of steps) {
    try {
      step();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** What {@link switchToWal} found: `busy` is worth another try. */
export type WalSwitch = 'already' | 'switched' | 'busy';

/** Puts a database into WAL mode through SQLite, as it is asked for by `set-wal`. `patienceMs`: blocks the thread for so long. */
export function switchToWal(path: string, patienceMs: number): WalSwitch {
  for (let leftMs = patienceMs; ; leftMs -= SWITCH_PAUSE_MS) {
    const outcome = trySwitchToWal(path);
    if (outcome !== 'busy' || leftMs <= 0) return outcome;
    pause(SWITCH_PAUSE_MS);
  }
}

function trySwitchToWal(path: string): WalSwitch {
  let connection: Connection | undefined;
  try {
    connection = new Connection(path, false);
    requireSqlite(connection.run(VERSION)?.version);
    if (connection.run('PRAGMA journal_mode')?.journal_mode === 'wal') return 'already';
    // Another database can be renamed over this one at any moment, with a WAL beside it. A connection that shares would take that
    // WAL for its own, and write the switch into it, which is the end of the other database. One that is exclusive notices.
    connection.run('PRAGMA locking_mode=EXCLUSIVE');
    const after = connection.run('PRAGMA journal_mode=wal')?.journal_mode;
    if (after === 'wal') return 'switched';
    throw new RivuletError({
      code: 'NO_WAL_MODE',
      message: `${path} cannot be switched to WAL mode: SQLite answers journal_mode=${String(after)}`,
      kept: 'the database was not changed',
      next: 'Rivulet needs a database file in WAL mode, on a local file system',
    });
  } catch (error) {
    if (isBusy(error) || isMoved(error)) return 'busy';
    throw error;
  } finally {
    connection?.close();
  }
}
