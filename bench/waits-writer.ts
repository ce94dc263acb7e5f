// Commits, and tells at the end how long each commit took: node waits-writer.ts DATABASE COMMITS_PER_SECOND COMMITS. With a rate of 0
// as fast as it can. Begins when a line comes on its stdin, and waits for the end of stdin when it is done.
import { writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rows } from './rows.ts';

const BUSY_TIMEOUT_MS = 5000;
const SEED = 400;

const [, , path = '', rate = '', count = ''] = process.argv;
const commitsPerSecond = Number(rate);
const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
// What Litestream recommends for applications: the WAL is synced at checkpoints, not at each commit.
db.exec('PRAGMA synchronous = NORMAL');
const rows = new Rows(db, SEED);
const tookMs = new Float64Array(Number(count));

process.stdin.on('end', () => process.exit());
writeSync(1, 'open\n');
await new Promise((resolve) => process.stdin.once('data', resolve));
const startMs = performance.now();
for (let i = 0; i < tookMs.length; i++) {
  if (commitsPerSecond > 0) {
    const earlyMs = startMs + (1000 * (i + 1)) / commitsPerSecond - performance.now();
    if (earlyMs > 0) await sleep(earlyMs);
  }
  const sinceMs = performance.now();
  db.exec('BEGIN IMMEDIATE');
  rows.addEvent();
  if (i % 4 === 0) rows.editMessage();
  db.exec('COMMIT');
  tookMs[i] = performance.now() - sinceMs;
}
const seconds = (performance.now() - startMs) / 1000;
const sorted = tookMs.toSorted();
const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
writeSync(1, `${JSON.stringify({ medianMs: at(0.5), p99Ms: at(0.99), mostMs: at(1), seconds })}\n`);
