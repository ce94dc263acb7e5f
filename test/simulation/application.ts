import * as fs from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { WalIndexHead } from '../../src/sqlite/wal-index.ts';
import { between, type Random } from '../support/writers.ts';
import { History, type State, stateOf } from './history.ts';

const MODES = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const;
const ROLLBACK_JOURNALS = ['delete', 'truncate', 'persist'] as const;
const AUTO_VACUUMS = ['NONE', 'NONE', 'FULL', 'INCREMENTAL'] as const;

/** What a connection is there for. `elsewhere` has another file as its main database, and this one attached. */
type Role = 'main' | 'second' | 'reader' | 'elsewhere';

/** `refused`: somebody else holds a lock. `unfit`: SQLite refuses that to whoever is not alone. */
export type Outcome = 'done' | 'refused' | 'unfit';

/**
 * An application with up to four connections, whose every commit is written down. Everything it does is done at once, or
 * refused as busy.
 */
export class Application {
  readonly path: string;
  readonly #random: Random;
  /** Whether a power loss takes what SQLite was told not to sync. */
  readonly synchronous: 'NORMAL' | 'OFF' | 'FULL';
  readonly #connections = new Map<Role, DatabaseSync>();
  readonly #history = new History();
  /** Has a write transaction open, over several actions. */
  #holder: DatabaseSync | undefined;
  /** How often it let go of the database: the last one to do so may remove the WAL. */
  closings = 0;
  /** What it did last, or tried to. */
  doing = '';
  /** What it did that is worth counting. */
  readonly did = new Set<string>();

  constructor(path: string, random: Random, pageSize: number) {
    this.path = path;
    this.#random = random;
    this.synchronous = random() < 0.6 ? 'NORMAL' : random() < 0.5 ? 'OFF' : 'FULL';
    this.#create(path, pageSize);
    this.noteCommit(true);
  }

  // ---- Connections ----

  #connection(role: Role): DatabaseSync {
    const open = this.#connections.get(role);
    if (open) return open;
    const connection = this.#opened(role === 'elsewhere' ? this.#otherPath : this.path);
    const autocheckpoint = [0, 0, 1, 20, 1000][between(this.#random, 0, 4)];
    if (role === 'elsewhere') connection.exec(`ATTACH '${this.path}' AS app`);
    else if (role === 'second') connection.exec(`ATTACH '${this.#otherPath}' AS other`);
    connection.exec(`PRAGMA ${role === 'elsewhere' ? 'app.' : ''}synchronous=${this.synchronous};
      PRAGMA wal_autocheckpoint=${autocheckpoint}`);
    this.#connections.set(role, connection);
    return connection;
  }

  #opened(path: string): DatabaseSync {
    const connection = new DatabaseSync(path, { timeout: 0 });
    // As `randomblob`, but the seed decides.
    connection.function('noise', (length) =>
      Uint8Array.from({ length: Number(length) }, () => Math.floor(this.#random() * 256)),
    );
    return connection;
  }

  #closeAll(): void {
    this.#holder = undefined;
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
  }

  get #otherPath(): string {
    return `${this.path}.other`;
  }

  #create(path: string, pageSize: number): void {
    const connection = this.#opened(path);
    connection.exec(`PRAGMA page_size=${pageSize}; PRAGMA auto_vacuum=${pick(this.#random, AUTO_VACUUMS)};
      PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX t_v ON t(v);
      INSERT INTO t(v) VALUES (noise(10))`);
    connection.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    connection.close();
    const other = this.#opened(this.#otherPath);
    other.exec(`PRAGMA journal_mode=${pick(this.#random, ['wal', 'delete'])}; CREATE TABLE IF NOT EXISTS o(v BLOB)`);
    other.close();
  }

  /** One of its own connections keeps the others from committing. */
  get standsInItsOwnWay(): boolean {
    return this.#holder !== undefined || (!this.hasWal && this.#connections.has('reader'));
  }

  /** None of its transactions is open: a checkpoint is complete unless somebody else is in the way. */
  get isIdle(): boolean {
    return this.#holder === undefined && !this.#connections.has('reader');
  }

  // ---- What there is ----

  get hasWal(): boolean {
    return fs.existsSync(`${this.path}-wal`);
  }

  /** True when the database has ever been in the state of these pages. */
  wasEver(image: Uint8Array): boolean {
    return this.#history.wasEver(image);
  }

  /** True when it is in that state now. */
  isNow(image: Uint8Array): boolean {
    const now = this.image();
    return now !== undefined && Buffer.compare(now, image) === 0;
  }

  /** The database as a reader sees it, page by page. */
  image(): Buffer | undefined {
    return this.#look()?.image;
  }

  /** What the WAL-index says; undefined with a rollback journal. */
  head(): WalIndexHead | undefined {
    return this.#look()?.head;
  }

  wal(): Buffer | undefined {
    return this.#look()?.wal;
  }

  #look(): State | undefined {
    if (!fs.existsSync(this.path)) return undefined;
    // Recovers the WAL if need be. One that only reads tidies nothing up when it closes.
    using passerby = this.#connections.size === 0 ? new DatabaseSync(this.path, { readOnly: true }) : undefined;
    (passerby ?? this.#connection('main')).prepare('SELECT 1 FROM sqlite_schema').get();
    return stateOf(this.path);
  }

  /** Writes the present state down. `durable`: nothing of it can be lost by a power loss any more. */
  noteCommit(durable = false): void {
    const now = this.#look();
    if (now) this.#history.note(now, durable ? 0 : this.#mayLose(now));
  }

  #mayLose(now: State): number {
    if (this.synchronous === 'OFF') return Number.POSITIVE_INFINITY;
    // The rollback journal is removed when a commit is durable; that it was removed, is durable with the next one.
    if (!now.wal) return 1;
    return this.synchronous === 'FULL' ? 0 : Number.POSITIVE_INFINITY;
  }

  /** Somebody switched to WAL, and has still locked it: there is no WAL yet to be recovered. */
  noteSwitch(): void {
    this.#history.note(stateOf(this.path), 0);
  }

  /** A checkpoint that syncs was made. */
  noteSync(): void {
    const now = this.#look();
    if (now) this.#history.noteCheckpoint(now);
  }

  // ---- What it does ----

  /** Does one thing. */
  act(): Outcome {
    const dice = this.#random();
    if (dice < 0.02) return this.#try('changes the journal mode', () => this.#changeJournalMode(), 'unfit');
    if (dice < 0.4) return this.#try('writes', () => this.#write());
    if (dice < 0.58) return this.#try('makes a checkpoint', () => this.#checkpoint());
    if (dice < 0.63) return this.#try('rolls back', () => this.#rollBack());
    if (dice < 0.68) return this.#try('reads', () => this.#read());
    if (dice < 0.76) return this.#try('holds a transaction', () => this.#hold());
    if (dice < 0.8) return this.#try('lets go', () => this.close());
    if (dice < 0.83) return this.#try('vacuums', () => this.#vacuum());
    if (dice < 0.86) return this.#try('shrinks', () => this.#shrink());
    if (dice < 0.9) return this.#try('changes the schema', () => this.#schema());
    if (dice < 0.93) return this.#try('writes to two files', () => this.#acrossFiles());
    if (dice < 0.95) return this.#try('writes over and over', () => this.#overAndOver());
    return this.#try('writes much', () => this.#large());
  }

  /** The smallest commit there is: it leaves old frames of the WAL where they are. Its connection may make checkpoints, if it is not told not to. */
  tinyCommit(checkpoints?: 'no checkpoint'): Outcome {
    return this.#try('writes a little', () => {
      if (checkpoints) this.#connection('main').exec('PRAGMA wal_autocheckpoint=0');
      this.#exec(`UPDATE t SET v = noise(8) WHERE id = ${this.#id()}`, 'main');
    });
  }

  checkpoint(mode: (typeof MODES)[number]): boolean {
    return this.#try('makes a checkpoint', () => this.#checkpoint(mode)) === 'done';
  }

  /** True when a checkpoint with this connection empties the WAL at once. */
  truncates(): boolean {
    const row = this.#connection('main').prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
    this.noteSync();
    return row?.busy === 0;
  }

  /** True when it may commit right now, or keeps itself from it. Changes nothing. */
  mayCommit(): boolean {
    const connection = this.#connections.get('main');
    if (!connection || this.standsInItsOwnWay) return true;
    return this.#try('asks', () => connection.exec('BEGIN IMMEDIATE; ROLLBACK')) === 'done';
  }

  #try(what: string, work: () => void, ifRefused: Outcome = 'refused'): Outcome {
    this.doing = what;
    try {
      work();
      return 'done';
    } catch (error) {
      if (!isRefused(error)) throw error;
      for (const [role, connection] of this.#connections) {
        if (connection === this.#holder || role === 'reader') continue;
        if (connection.isTransaction) connection.exec('ROLLBACK');
      }
      return ifRefused;
    }
  }

  /** A connection that has no transaction open. */
  #writer(): readonly [connection: DatabaseSync, prefix: string, role: Role] {
    const dice = this.#random();
    const role = dice < 0.6 ? 'main' : dice < 0.85 ? 'second' : 'elsewhere';
    const connection = this.#connection(role);
    if (connection === this.#holder) return [this.#connection('main'), '', 'main'];
    return [connection, role === 'elsewhere' ? 'app.' : '', role];
  }

  #id(): number {
    return between(this.#random, 1, 60);
  }

  #exec(sql: string, role: Role): void {
    this.#connection(role).exec(sql);
    this.noteCommit();
  }

  #write(): void {
    const [connection, prefix] = this.#writer();
    connection.exec(this.#change(prefix));
    this.noteCommit();
  }

  #change(prefix: string): string {
    const random = this.#random;
    const size = between(random, 5, 500);
    const dice = random();
    if (dice < 0.4) return `INSERT INTO ${prefix}t(v) VALUES (noise(${size}))`;
    if (dice < 0.8) return `UPDATE ${prefix}t SET v = noise(${size}) WHERE id = ${this.#id()}`;
    return `DELETE FROM ${prefix}t WHERE id > ${between(random, 10, 80)}`;
  }

  #large(): void {
    const [connection, prefix] = this.#writer();
    const rows = between(this.#random, 10, 120);
    connection.exec(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${rows})
      INSERT INTO ${prefix}t(v) SELECT noise(300) FROM c`);
    this.noteCommit();
  }

  /** The same pages again and again: the WAL becomes larger than the database, if nobody makes a checkpoint. */
  #overAndOver(): void {
    const [connection, prefix] = this.#writer();
    for (let i = between(this.#random, 2, 6); i > 0; i--) {
      connection.exec(`UPDATE ${prefix}t SET v = noise(60) WHERE id < 80`);
      this.noteCommit();
    }
    const now = this.#look();
    if (now?.wal && now.wal.length > now.image.length) this.did.add('the WAL is larger than the database');
  }

  /** Savepoints within each other, of which some are rolled back; its cache is too small for that, and spills into the WAL. */
  #rollBack(): void {
    const connection = this.#connection('main');
    const random = this.#random;
    connection.exec('PRAGMA cache_size=5; BEGIN IMMEDIATE');
    connection.exec(`UPDATE t SET v = noise(400) WHERE id < ${this.#id()}; SAVEPOINT a; DELETE FROM t WHERE id > 20`);
    connection.exec(`SAVEPOINT b; UPDATE t SET v = noise(200) WHERE id < ${this.#id()}`);
    connection.exec(random() < 0.5 ? 'ROLLBACK TO b' : 'RELEASE b');
    if (random() < 0.5) connection.exec('ROLLBACK TO a; RELEASE a');
    connection.exec(random() < 0.4 ? 'ROLLBACK' : 'COMMIT');
    this.noteCommit();
  }

  #checkpoint(mode = pick(this.#random, MODES)): void {
    const [connection, prefix] = this.#writer();
    connection.prepare(`PRAGMA ${prefix}wal_checkpoint(${mode})`).get();
    if (this.synchronous === 'OFF') this.noteCommit();
    else this.noteSync();
  }

  /** A reader that stays for a while, or one that goes. */
  #read(): void {
    if (this.stopReading()) return;
    const connection = this.#connection('reader');
    connection.exec('BEGIN');
    connection.prepare('SELECT count(*) FROM t').get();
  }

  /** False when nothing was being read. */
  stopReading(): boolean {
    this.#connections.get('reader')?.close();
    return this.#connections.delete('reader');
  }

  /** A transaction that is open while others do something, which cannot commit meanwhile. */
  #hold(): void {
    const random = this.#random;
    const holder = this.#holder;
    if (!holder) {
      // With a rollback journal what is not committed is in the database file already.
      if (!this.hasWal) return;
      const connection = this.#connection('second');
      connection.exec(`PRAGMA cache_size=${pick(random, [5, 2000])}; BEGIN IMMEDIATE`);
      this.#holder = connection;
      connection.exec(this.#change(''));
      this.did.add('application holds a write transaction');
      return;
    }
    const dice = random();
    if (dice < 0.5) {
      holder.exec(`SAVEPOINT s; UPDATE t SET v = noise(300) WHERE id < ${this.#id()}; ${this.#change('')}`);
      holder.exec(random() < 0.5 ? 'ROLLBACK TO s' : 'RELEASE s');
      return;
    }
    this.endTransactions(dice < 0.85 ? 'COMMIT' : 'ROLLBACK');
  }

  /** Ends the write transaction that it holds open, if there is one. */
  endTransactions(how: 'COMMIT' | 'ROLLBACK'): void {
    const holder = this.#holder;
    this.#holder = undefined;
    if (!holder) return;
    holder.exec(how);
    this.noteCommit();
  }

  #vacuum(): void {
    const connection = this.#connection('main');
    if (this.#random() < 0.3) {
      // From INCREMENTAL to FULL, it is a commit of its own, which gives back what it can.
      connection.exec(`PRAGMA auto_vacuum=${pick(this.#random, AUTO_VACUUMS)}`);
      this.noteCommit();
    }
    connection.exec('VACUUM');
    this.noteCommit();
  }

  /** Gives pages back, if the database does that at all. */
  #shrink(): void {
    const [connection, prefix] = this.#writer();
    connection.exec(`DELETE FROM ${prefix}t WHERE id > ${between(this.#random, 1, 60)}`);
    this.noteCommit();
    const before = this.image()?.length ?? 0;
    const most = pick(this.#random, [1, 3, 1000]);
    connection.exec(`PRAGMA ${prefix}incremental_vacuum(${most})`);
    this.noteCommit();
    if ((this.image()?.length ?? 0) < before) this.did.add('incremental_vacuum shrinks the database');
  }

  #schema(): void {
    const [connection, prefix] = this.#writer();
    const name = `${prefix}extra${between(this.#random, 1, 4)}`;
    const exists = connection
      .prepare(`SELECT 1 FROM ${prefix}sqlite_schema WHERE name = ?`)
      .get(name.slice(prefix.length));
    connection.exec(exists ? `DROP TABLE ${name}` : `CREATE TABLE ${name} AS SELECT * FROM ${prefix}t LIMIT 20`);
    this.noteCommit();
  }

  /** One transaction that writes to two files: as the attached one of them, or with the other one attached. */
  #acrossFiles(): void {
    const role = this.#random() < 0.5 && this.#connection('second') !== this.#holder ? 'second' : 'elsewhere';
    const prefix = role === 'elsewhere' ? 'app.' : '';
    const end = this.#random() < 0.8 ? 'COMMIT' : 'ROLLBACK';
    this.#exec(
      `BEGIN IMMEDIATE; INSERT INTO o VALUES (noise(50)); ${this.#change(prefix)}; DELETE FROM o WHERE rowid < 5; ${end}`,
      role,
    );
    this.did.add(
      `a transaction across two files, ${role === 'elsewhere' ? 'attached to another' : 'another attached'}`,
    );
  }

  /** To a rollback journal, or back: SQLite allows that to whoever is the only one to have the database open. */
  #changeJournalMode(): void {
    this.closings++;
    this.endTransactions('ROLLBACK');
    this.stopReading();
    for (const role of ['second', 'elsewhere'] as const) {
      this.#connections.get(role)?.close();
      this.#connections.delete(role);
    }
    const connection = this.#connection('main');
    const before = connection.prepare('PRAGMA journal_mode').get()?.journal_mode;
    const wanted = before === 'wal' ? pick(this.#random, ROLLBACK_JOURNALS) : 'wal';
    const mode = connection.prepare(`PRAGMA journal_mode=${wanted}`).get()?.journal_mode;
    this.noteCommit();
    if (mode !== before) this.did.add(`application switches to ${mode === 'wal' ? 'WAL' : 'a rollback journal'}`);
  }

  /** Leaves the WAL behind, and works with a rollback journal. False when others have the database open. */
  useRollbackJournal(): boolean {
    this.#try('leaves the WAL', () => {
      this.#connection('main').prepare('SELECT 1 FROM sqlite_schema').get();
      if (this.hasWal) this.#changeJournalMode();
    });
    return !this.hasWal;
  }

  // ---- How it ends ----

  /** Lets go of the database. Where nobody else has it open, SQLite checkpoints and removes the WAL. */
  close(): void {
    this.closings++;
    this.noteCommit();
    this.#closeAll();
  }

  /** The process dies: what it had open is rolled back, and no last close tidies up. */
  die(): void {
    const keeper = new DatabaseSync(this.path, { readOnly: true });
    keeper.prepare('SELECT 1 FROM sqlite_schema').get();
    this.#closeAll();
    keeper.close();
  }

  /** The power is cut: what was not synced may be gone. Nobody has the database open any more. */
  losePower(): void {
    const left = this.#history.afterPowerLoss(this.#random);
    if (left) this.#put(left.database, left.wal);
    const holey = this.synchronous === 'OFF' && left && this.#history.withoutSomePages(left.database, this.#random);
    if (holey) {
      this.#put(holey, left.wal);
      if (this.#isSound()) this.did.add('a power loss takes pages out of the database');
      else this.#put(left.database, left.wal);
    }
    this.noteCommit(true);
  }

  #put(database: Buffer, wal: Buffer | undefined): void {
    for (const end of ['-shm', '-wal', '-journal']) fs.rmSync(this.path + end, { force: true });
    fs.writeFileSync(this.path, database);
    if (wal) fs.writeFileSync(`${this.path}-wal`, wal);
  }

  /** Whether SQLite can work with what a power loss left. */
  #isSound(): boolean {
    using passerby = new DatabaseSync(this.path, { readOnly: true });
    try {
      return passerby.prepare('PRAGMA integrity_check').get()?.integrity_check === 'ok';
    } catch {
      return false;
    }
  }

  /** Makes the pages another size, which takes the rollback-journal mode for a moment. Nobody else has it open. */
  changePageSize(pageSize: number): void {
    this.close();
    const connection = this.#opened(this.path);
    connection.exec(`PRAGMA journal_mode=delete; PRAGMA page_size=${pageSize}; VACUUM; PRAGMA journal_mode=wal`);
    connection.close();
    this.noteCommit(true);
  }

  /** Another database takes this one's place, by a rename. */
  replace(pageSize: number): void {
    this.close();
    const other = `${this.path}.new`;
    const connection = this.#opened(other);
    connection.exec(`PRAGMA page_size=${pageSize}; PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);
      WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${between(this.#random, 1, 80)})
      INSERT INTO t(v) SELECT noise(200) FROM c; PRAGMA wal_checkpoint(TRUNCATE)`);
    connection.close();
    for (const end of ['-wal', '-shm', '-journal']) fs.rmSync(this.path + end, { force: true });
    fs.renameSync(other, this.path);
    this.noteCommit(true);
  }
}

function pick<T>(random: Random, values: readonly T[]): T {
  const value = values[between(random, 0, values.length - 1)];
  if (value === undefined) throw new Error('there is nothing to choose from');
  return value;
}

/** Somebody else holds a lock; the application goes on with something else. */
function isRefused(error: unknown): boolean {
  const code = error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0;
  return code === 5 || code === 6;
}
