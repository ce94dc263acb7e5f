import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
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

/** Compares a restored shop with the one that it was made from, of which `acknowledged` commits were confirmed. */
export function compareShops(originalPath: string, restoredPath: string, acknowledged: number): Comparison {
  const pages = comparePages(originalPath, restoredPath);
  const original = new DatabaseSync(originalPath, { readOnly: true });
  const restored = new DatabaseSync(restoredPath, { readOnly: true });
  try {
    const there = commitsInDatabase(restored);
    const lostCommits = Math.max(0, acknowledged - there);
    const checks = [
      compareCommits(acknowledged, commitsInDatabase(original), there),
      compareRows(original, restored),
      checkBooks(restored),
      checkIntegrity(restored),
      pages,
    ];
    return { checks, lostCommits };
  } finally {
    original.close();
    restored.close();
  }
}

function compareCommits(acknowledged: number, original: number, restored: number): Check {
  const good = restored === original && restored >= acknowledged;
  const detail = good
    ? `all ${count(acknowledged)} that the shop was told are committed${restored > acknowledged ? `, and ${restored - acknowledged} that it was not told of` : ''}`
    : `${count(restored)} of ${count(Math.max(original, acknowledged))}`;
  return { name: 'commits', good, detail };
}

function compareRows(original: DatabaseSync, restored: DatabaseSync): Check {
  const tables = tablesOf(original);
  const missing = tables.filter((table) => !tablesOf(restored).includes(table));
  if (missing.length > 0) return { name: 'rows', good: false, detail: `tables are missing: ${missing.join(', ')}` };
  let rows = 0;
  const different: string[] = [];
  for (const table of tables) {
    const [a, b] = [digest(original, table), digest(restored, table)];
    rows += b.rows;
    if (a.sha256 !== b.sha256) different.push(`${table} (${count(a.rows)} rows, restored ${count(b.rows)})`);
  }
  if (different.length > 0) return { name: 'rows', good: false, detail: `different: ${different.join(', ')}` };
  return { name: 'rows', good: true, detail: `${count(rows)} in ${tables.length} tables, each with the same checksum` };
}

function tablesOf(db: DatabaseSync): string[] {
  return db
    .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`)
    .all()
    .map((row) => String(row.name));
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

function checkBooks(db: DatabaseSync): Check {
  const broken = Object.entries(BOOKS)
    .map(([rule, query]) => ({ rule, rows: db.prepare(query).all().length }))
    .filter(({ rows }) => rows > 0);
  if (broken.length === 0) return { name: 'books', good: true, detail: 'balanced: tickets, seats and payments agree' };
  return { name: 'books', good: false, detail: broken.map(({ rule, rows }) => `not so: ${rule} (${rows})`).join('; ') };
}

function checkIntegrity(db: DatabaseSync): Check {
  const verdict = db
    .prepare('PRAGMA integrity_check')
    .all()
    .map((row) => String(row.integrity_check))
    .join('; ');
  return {
    name: 'SQLite',
    good: verdict === 'ok',
    detail: verdict === 'ok' ? "its own integrity check says 'ok'" : verdict,
  };
}

function comparePages(originalPath: string, restoredPath: string): Check {
  const original = readFileSync(originalPath);
  const restored = readFileSync(restoredPath);
  const pageSize = original.readUInt16BE(16) || 65_536;
  const pages = Math.ceil(Math.max(original.length, restored.length) / pageSize);
  let different = 0;
  for (let at = 0; at < pages * pageSize; at += pageSize) {
    if (!original.subarray(at, at + pageSize).equals(restored.subarray(at, at + pageSize))) different++;
  }
  const detail = different === 0 ? `${count(pages)}, the same byte for byte` : `${different} of ${pages} differ`;
  return { name: 'pages', good: different === 0, detail };
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
