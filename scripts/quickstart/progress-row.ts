import { readFileSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { LtxDecoder } from '../../src/ltx/decoder.ts';

/*
 * An application that counts its commits in a row of its own, within each transaction, lets anybody tell which commits an
 * LTX file holds: the page with that row is in it, and says which commit it was written by.
 */

const DIGITS = 12;

/** To be run first on an empty database, so that the row has a page of its own. */
export const PROGRESS_SCHEMA = `
  CREATE TABLE progress (id INTEGER PRIMARY KEY, commits TEXT NOT NULL);
  INSERT INTO progress VALUES (1, '${formatCommits(0)}');
`;

/** Takes {@link formatCommits} of the number of this commit. */
export const COUNT_COMMIT = 'UPDATE progress SET commits = ? WHERE id = 1';

/** Always of one length, so that the row is overwritten in its place. */
export function formatCommits(count: number): string {
  return String(count).padStart(DIGITS, '0');
}

/** The page that holds the row. */
export function progressPage(db: DatabaseSync): number {
  const row = db.prepare(`SELECT rootpage FROM sqlite_schema WHERE name = 'progress'`).get();
  if (typeof row?.rootpage !== 'number') throw new Error('the database has no table `progress`');
  return row.rootpage;
}

/** The last commit that a database holds. */
export function commitsInDatabase(db: DatabaseSync): number {
  return Number(db.prepare('SELECT commits FROM progress').get()?.commits);
}

/** The last commit that an LTX file holds; undefined when the page with the row is not in it. Proves the file on the way. */
export function commitsInFile(path: string, page: number): number | undefined {
  const file = readFileSync(path);
  using decoder = new LtxDecoder();
  let commits: number | undefined;
  for (let at = 0; ; ) {
    const step = decoder.next();
    if (step.kind === 'done') return commits;
    if (step.kind === 'pages') {
      const i = step.batch.pgnos.subarray(0, step.count).indexOf(page);
      if (i >= 0) commits = commitsInPage(step.batch.slice(i, 1));
      continue;
    }
    const room = decoder.room();
    const piece = file.subarray(at, at + room.length);
    room.set(piece);
    decoder.advance(piece.length);
    at += piece.length;
    if (at === file.length) decoder.end();
  }
}

const LEAF_OF_TABLE = 0x0d;
const FIRST_CELL_POINTER = 8;
/** One byte each: size of the payload, row id, size of the record's header, and the types of both columns. */
const BYTES_BEFORE_TEXT = 5;

function commitsInPage(page: Uint8Array): number {
  const bytes = Buffer.from(page.buffer, page.byteOffset, page.length);
  const cell = bytes.readUInt16BE(FIRST_CELL_POINTER) + BYTES_BEFORE_TEXT;
  const text = bytes.toString('latin1', cell, cell + DIGITS);
  if (bytes[0] !== LEAF_OF_TABLE || !/^\d{12}$/.test(text)) throw new Error('the page does not hold the progress row');
  return Number(text);
}
