import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { messageOf } from '../../src/base/errors.ts';
import { commitsInDatabase } from './progress-row.ts';
import { BOOKS } from './shop.ts';

/** One thing that was compared, and what came of it. */
export interface Check {
  readonly name: string;
  readonly good: boolean;
  readonly detail: string;
}

export interface Comparison {
  readonly checks: readonly Check[];
  /** Commits that were acknowledged and are not in the restored database. */
  readonly lostCommits: number;
}

/** Thrown by a check that found a difference. */
class Difference extends Error {}

/** Compares a restored shop with the one that it was made from, of which `acknowledged` commits were confirmed. */
export function compareShops(originalPath: string, restoredPath: string, acknowledged: number): Comparison {
  // Before SQLite opens either of them.
  const pages = check('pages', () => comparePages(originalPath, restoredPath));
  const original = new DatabaseSync(originalPath, { readOnly: true });
  const restored = new DatabaseSync(restoredPath, { readOnly: true });
  try {
    const checks = [
      check('commits', () => compareCommits(original, restored, acknowledged)),
      check('rows', () => compareRows(original, restored)),
      check('books', () => checkBooks(restored)),
      check('SQLite', () => checkIntegrity(restored)),
      pages,
    ];
    return { checks, lostCommits: Math.max(0, acknowledged - readableCommits(restored)) };
  } finally {
    original.close();
    restored.close();
  }
}

/** Runs a check that returns what it found good, and throws where there is a difference or nothing that can be read. */
function check(name: string, run: () => string): Check {
  try {
    return { name, good: true, detail: run() };
  } catch (error) {
    return { name, good: false, detail: messageOf(error) };
  }
}

function readableCommits(db: DatabaseSync): number {
  try {
    return commitsInDatabase(db) || 0;
  } catch {
    return 0;
  }
}

function compareCommits(original: DatabaseSync, restored: DatabaseSync, acknowledged: number): string {
  const there = commitsInDatabase(restored);
  const wanted = Math.max(commitsInDatabase(original), acknowledged);
  if (there !== wanted) throw new Difference(`${count(there)} of ${count(wanted)}`);
  const untold = there - acknowledged;
  const more = untold === 0 ? '' : `, and ${count(untold)} whose confirmation did not reach it any more`;
  return `all ${count(acknowledged)} that were confirmed to the shop${more}`;
}

function compareRows(original: DatabaseSync, restored: DatabaseSync): string {
  const tables = tablesOf(original);
  const missing = tables.filter((table) => !tablesOf(restored).includes(table));
  if (missing.length > 0) throw new Difference(`tables are missing: ${missing.join(', ')}`);
  let rows = 0;
  const different: string[] = [];
  for (const table of tables) {
    const [a, b] = [digest(original, table), digest(restored, table)];
    rows += b.rows;
    if (a.sha256 !== b.sha256) different.push(`${table} (${count(a.rows)} rows, restored ${count(b.rows)})`);
  }
  if (different.length > 0) throw new Difference(`not the same: ${different.join(', ')}`);
  return `${count(rows)} in ${tables.length} tables, each with the same checksum`;
}

function tablesOf(db: DatabaseSync): string[] {
  const rows = db.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`).all();
  return rows.map((row) => String(row.name));
}

function digest(db: DatabaseSync, table: string): { readonly rows: number; readonly sha256: string } {
  const hash = createHash('sha256');
  let rows = 0;
  for (const row of db.prepare(`SELECT rowid, * FROM "${table}" ORDER BY rowid`).iterate()) {
    hash.update(JSON.stringify(row));
    rows++;
  }
  return { rows, sha256: hash.digest('hex') };
}

function checkBooks(db: DatabaseSync): string {
  const broken = Object.entries(BOOKS)
    .map(([rule, query]) => ({ rule, rows: db.prepare(query).all().length }))
    .filter(({ rows }) => rows > 0);
  if (broken.length > 0) throw new Difference(broken.map(({ rule, rows }) => `not so: ${rule} (${rows})`).join('; '));
  return 'balanced: tickets, seats and payments agree';
}

function checkIntegrity(db: DatabaseSync): string {
  const rows = db.prepare('PRAGMA integrity_check').all();
  const verdict = rows.map((row) => String(row.integrity_check)).join('; ');
  if (verdict !== 'ok') throw new Difference(verdict);
  return `its own integrity check says 'ok'`;
}

function comparePages(originalPath: string, restoredPath: string): string {
  const original = readFileSync(originalPath);
  const restored = readFileSync(restoredPath);
  const pageSize = original.readUInt16BE(16);
  const pages = Math.ceil(Math.max(original.length, restored.length) / pageSize);
  let different = 0;
  for (let at = 0; at < pages * pageSize; at += pageSize) {
    if (!original.subarray(at, at + pageSize).equals(restored.subarray(at, at + pageSize))) different++;
  }
  if (different > 0) throw new Difference(`${count(different)} of ${count(pages)} differ`);
  return `${count(pages)}, the same byte for byte`;
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
