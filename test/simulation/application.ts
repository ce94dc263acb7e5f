import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { frameOffset, frameSize, WAL_FRAME_HEADER_SIZE } from '../../src/sqlite/wal.ts';
import { readWalIndexHead, WAL_INDEX_HEAD_SIZE } from '../../src/sqlite/wal-index.ts';
import { between, type Random } from '../support/writers.ts';

/** The files at some moment, and what a reader saw in them. */
interface State {
  readonly database: Buffer;
  readonly wal: Buffer | undefined;
  readonly image: Buffer;
}

const MODES = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const;

/** An application with up to three connections, whose every commit is written down. Everything it does is done at once, or refused as busy. */
export class Application {
  readonly path: string;
  readonly #random: Random;
  /** Whether a power loss takes what SQLite was told not to sync. */
  readonly synchronous: 'NORMAL' | 'OFF' | 'FULL';
  readonly #connections: DatabaseSync[] = [];
  /** Content of the database after each commit, by hash. */
  readonly #commits = new Set<string>();
  /** What the files were after each commit that may not be durable yet; the first one is. */
  #past: State[] = [];
  /** How often it let go of the database: the last one to do so may remove the WAL. */
  closings = 0;

  constructor(path: string, random: Random, pageSize: number) {
    this.path = path;
    this.#random = random;
    this.synchronous = random() < 0.6 ? 'NORMAL' : random() < 0.5 ? 'OFF' : 'FULL';
    this.#create(path, pageSize, random() < 0.3);
  }

  get #open(): DatabaseSync {
    const [first] = this.#connections;
    if (first) return first;
    const connection = this.#connect();
    this.#connections.push(connection);
    return connection;
  }

  #connect(): DatabaseSync {
    const connection = this.#opened(this.path);
    const autocheckpoint = [0, 0, 1, 20, 1000][between(this.#random, 0, 4)];
    connection.exec(`PRAGMA synchronous=${this.synchronous}; PRAGMA wal_autocheckpoint=${autocheckpoint}`);
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

  #create(path: string, pageSize: number, autoVacuum: boolean): void {
    const connection = this.#opened(path);
    connection.exec(`PRAGMA page_size=${pageSize}; PRAGMA auto_vacuum=${autoVacuum ? 'FULL' : 'NONE'};
      PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX t_v ON t(v);
      INSERT INTO t(v) VALUES (noise(10))`);
    connection.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    connection.close();
    this.noteCommit(true);
  }

  get hasWal(): boolean {
    return fs.existsSync(`${this.path}-wal`);
  }

  /** True when the database has ever been in the state of these pages. */
  wasEver(image: Uint8Array): boolean {
    return this.#commits.has(hashOf(image));
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

  /** Writes the present state down. `durable`: nothing of it can be lost by a power loss any more. */
  noteCommit(durable = false): void {
    const now = this.#look();
    if (!now) return;
    this.#commits.add(hashOf(now.image));
    this.#past = durable || this.synchronous === 'FULL' ? [now] : [...this.#past, now].slice(-6);
  }

  /** A checkpoint that syncs was made. */
  noteSync(): void {
    const now = this.#look();
    if (now) this.#past = [now];
  }

  #look(): State | undefined {
    if (!fs.existsSync(this.path)) return undefined;
    // Recovers the WAL if need be. One that only reads tidies nothing up when it closes.
    using passerby = this.#connections.length === 0 ? new DatabaseSync(this.path, { readOnly: true }) : undefined;
    (passerby ?? this.#open).prepare('SELECT 1 FROM sqlite_schema').get();
    const database = fs.readFileSync(this.path);
    const wal = fs.existsSync(`${this.path}-wal`) ? fs.readFileSync(`${this.path}-wal`) : undefined;
    const index = wal && fs.readFileSync(`${this.path}-shm`).subarray(0, WAL_INDEX_HEAD_SIZE);
    const head = index && readWalIndexHead(index);
    if (!wal || !head || head.mxFrame === 0) return { database, wal, image: database };
    const pageSize = wal.readUInt32BE(8);
    const image = Buffer.alloc(head.pageCount * pageSize);
    database.copy(image, 0, 0, Math.min(database.length, image.length));
    for (let frame = 0; frame < head.mxFrame; frame++) {
      const at = frameOffset(frame, pageSize);
      const pgno = wal.readUInt32BE(at);
      if (pgno > head.pageCount) continue;
      wal.copy(image, (pgno - 1) * pageSize, at + WAL_FRAME_HEADER_SIZE, at + frameSize(pageSize));
    }
    return { database, wal, image };
  }

  /** Does one thing; false when it was refused. */
  act(): boolean {
    const random = this.#random;
    const dice = random();
    try {
      if (dice < 0.5) this.#write();
      else if (dice < 0.72) this.#checkpoint();
      else if (dice < 0.78) this.#rollBack();
      else if (dice < 0.83) this.#read();
      else if (dice < 0.87) this.close();
      else if (dice < 0.9) this.#exec('VACUUM');
      else if (dice < 0.94) this.#schema();
      else this.#large();
      return true;
    } catch (error) {
      if (!isRefused(error)) throw error;
      for (const connection of this.#connections) if (connection.isTransaction) connection.exec('ROLLBACK');
      return false;
    }
  }

  /** The smallest commit there is: it leaves old frames of the WAL where they are. */
  tinyCommit(): boolean {
    return this.#try(() => this.#exec(`UPDATE t SET v = noise(8) WHERE id = ${this.#id()}`));
  }

  checkpoint(mode: (typeof MODES)[number]): boolean {
    return this.#try(() => this.#checkpoint(mode));
  }

  #try(work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      if (!isRefused(error)) throw error;
      return false;
    }
  }

  #id(): number {
    return between(this.#random, 1, 60);
  }

  #exec(sql: string): void {
    this.#open.exec(sql);
    this.noteCommit();
  }

  #write(): void {
    const random = this.#random;
    const size = between(random, 5, 500);
    const dice = random();
    if (dice < 0.4) this.#exec(`INSERT INTO t(v) VALUES (noise(${size}))`);
    else if (dice < 0.8) this.#exec(`UPDATE t SET v = noise(${size}) WHERE id = ${this.#id()}`);
    else this.#exec(`DELETE FROM t WHERE id > ${between(random, 10, 80)}`);
  }

  #large(): void {
    const rows = between(this.#random, 10, 120);
    this.#exec(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${rows})
      INSERT INTO t(v) SELECT noise(300) FROM c`);
  }

  #rollBack(): void {
    const connection = this.#open;
    connection.exec('PRAGMA cache_size=5; BEGIN IMMEDIATE');
    connection.exec(`UPDATE t SET v = noise(400) WHERE id < ${this.#id()}; SAVEPOINT s; DELETE FROM t`);
    connection.exec(this.#random() < 0.5 ? 'ROLLBACK' : 'ROLLBACK TO s; RELEASE s; COMMIT');
    this.noteCommit();
  }

  #checkpoint(mode = MODES[between(this.#random, 0, 3)]): void {
    this.#open.prepare(`PRAGMA wal_checkpoint(${mode})`).get();
    if (this.synchronous === 'OFF') this.noteCommit();
    else this.noteSync();
  }

  /** A reader that stays for a while, or one that goes. */
  #read(): void {
    const [, second] = this.#connections;
    if (second) {
      second.close();
      this.#connections.splice(1, 1);
      return;
    }
    void this.#open;
    const reader = this.#connect();
    this.#connections.push(reader);
    reader.exec('BEGIN');
    reader.prepare('SELECT count(*) FROM t').get();
  }

  #schema(): void {
    const name = `extra${between(this.#random, 1, 4)}`;
    const exists = this.#open.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(name);
    this.#exec(exists ? `DROP TABLE ${name}` : `CREATE TABLE ${name} AS SELECT * FROM t LIMIT 20`);
  }

  /** Lets go of the database. Where nobody else has it open, SQLite checkpoints and removes the WAL. */
  close(): void {
    this.closings++;
    this.noteCommit();
    for (const connection of this.#connections.splice(0)) connection.close();
  }

  /** The process dies: what it had open is rolled back, and no last close tidies up. */
  die(): void {
    const keeper = new DatabaseSync(this.path, { readOnly: true });
    keeper.prepare('SELECT 1 FROM sqlite_schema').get();
    for (const connection of this.#connections.splice(0)) connection.close();
    keeper.close();
  }

  /** The power is cut: what was not synced may be gone. Nobody has the database open any more. */
  losePower(): void {
    const left = this.#past[between(this.#random, 0, this.#past.length - 1)];
    fs.rmSync(`${this.path}-shm`, { force: true });
    fs.rmSync(`${this.path}-wal`, { force: true });
    if (left) fs.writeFileSync(this.path, left.database);
    if (left?.wal) {
      // The end of a WAL that was being written is anything.
      const torn =
        this.#random() < 0.5 ? Buffer.alloc(between(this.#random, 1, 3000), this.#random() * 256) : Buffer.alloc(0);
      fs.writeFileSync(`${this.path}-wal`, Buffer.concat([left.wal, torn]));
    }
    this.noteCommit(true);
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
    for (const end of ['-wal', '-shm']) fs.rmSync(this.path + end, { force: true });
    fs.renameSync(other, this.path);
    this.noteCommit(true);
  }
}

function hashOf(image: Uint8Array): string {
  return createHash('sha1').update(image).digest('hex');
}

/** Somebody else holds a lock; the application goes on with something else. */
function isRefused(error: unknown): boolean {
  const code = error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0;
  return code === 5 || code === 6;
}
