// Writes to a database at a steady rate: node writer.ts DATABASE COMMITS_PER_SECOND COMMITS. Speaks as Application expects,
// begins when a line comes on its stdin, and waits for the end of stdin when it is done.
import { writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { COUNT_COMMIT, formatCommits, progressPage } from '../scripts/quickstart/progress-row.ts';
import { Rows } from './rows.ts';

const BUSY_TIMEOUT_MS = 5000;
const SEED = 400;

const [, , path = '', rate = '', count = ''] = process.argv;
const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
// What Litestream recommends for applications: the WAL is synced at checkpoints, not at each commit.
db.exec('PRAGMA synchronous = NORMAL');
const rows = new Rows(db, SEED);
const countCommit = db.prepare(COUNT_COMMIT);

function commit(number: number): void {
  const since = performance.now();
  db.exec('BEGIN IMMEDIATE');
  rows.addEvent();
  if (number % 4 === 0) rows.editMessage();
  countCommit.run(formatCommits(number));
  db.exec('COMMIT');
  writeSync(1, `${number} ${Date.now()} ${(performance.now() - since).toFixed(3)}\n`);
}

process.stdin.on('end', () => process.exit());
writeSync(1, `open ${progressPage(db)}\n`);
await new Promise((resolve) => process.stdin.once('data', resolve));
const startMs = performance.now();
for (let number = 1; number <= Number(count); number++) {
  const dueMs = startMs + (1000 * number) / Number(rate);
  const earlyMs = dueMs - performance.now();
  if (earlyMs > 0) await sleep(earlyMs);
  commit(number);
}
