import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Rows, SCHEMA } from './rows.ts';

/** Raised when the contents change, so that an old file is not taken for the new one. */
const CONTENTS_VERSION = 1;
const SEED = 20_240_229;
const ROUNDS_A_TRANSACTION = 100;

const MIB = 1024 * 1024;
/** Where a database's header says how many pages it has. */
const PAGES_FIELD = 28;

/** The path of a database of this size in `folder`: the same rows each time, made once. It is in WAL mode, without a WAL. */
export function databaseOf(folder: string, sizeMib: number): string {
  const path = join(folder, `rows-${sizeMib}MiB-v${CONTENTS_VERSION}.db`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const staged = `${path}.tmp`;
  rmSync(staged, { force: true });
  process.stderr.write(`making a database of ${sizeMib} MiB in ${folder}; it is kept for the next time\n`);
  const db = new DatabaseSync(staged);
  try {
    fill(db, sizeMib * MIB);
  } finally {
    db.close();
  }
  renameSync(staged, path);
  return path;
}

/** A database of one small table and, up to `sizeMib`, pages of zeros that take no room on the disk. */
export function makeSparse(path: string, sizeMib: number): void {
  const db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode = WAL; CREATE TABLE progress(commits); INSERT INTO progress VALUES (1)');
  const pageSize = Number(db.prepare('PRAGMA page_size').get()?.page_size);
  db.close();
  truncateSync(path, sizeMib * MIB);
  const pages = Buffer.alloc(4);
  pages.writeUInt32BE((sizeMib * MIB) / pageSize);
  const fd = openSync(path, 'r+');
  writeSync(fd, pages, 0, 4, PAGES_FIELD);
  closeSync(fd);
}

function fill(db: DatabaseSync, sizeBytes: number): void {
  db.exec(`PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; ${SCHEMA}`);
  const rows = new Rows(db, SEED);
  while (sizeOf(db) < sizeBytes) {
    db.exec('BEGIN');
    for (let i = 0; i < ROUNDS_A_TRANSACTION && sizeOf(db) < sizeBytes; i++) rows.addMixed();
    db.exec('COMMIT');
  }
  // What an application leaves: pages that are partly empty, and some that are free.
  db.exec('DELETE FROM files WHERE id % 50 = 0; DELETE FROM messages WHERE id % 97 = 0');
  db.exec('PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE)');
}

function sizeOf(db: DatabaseSync): number {
  const { page_count: pages } = db.prepare('PRAGMA page_count').get() ?? {};
  const { page_size: pageSize } = db.prepare('PRAGMA page_size').get() ?? {};
  return Number(pages) * Number(pageSize);
}
