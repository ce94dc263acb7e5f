// Commits, and tells how long each commit took: node waits-writer.ts DATABASE. Each line on its stdin says how, as JSON:
// {"commitsPerSecond": 400, "commits": 8000}; with a rate of 0 as fast as it can. Speaks as WriterProcess expects.
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rows } from './rows.ts';
import type { Pace, Told } from './waits.ts';

const BUSY_TIMEOUT_MS = 5000;
const SEED = 400;

const [, , path = ''] = process.argv;
const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
// What Litestream recommends for applications: the WAL is synced at checkpoints, not at each commit.
db.exec('PRAGMA synchronous = NORMAL');
const rows = new Rows(db, SEED);

async function work({ commitsPerSecond, commits }: Pace): Promise<Told> {
  const tookMs = new Float64Array(commits);
  const startMs = performance.now();
  for (let i = 0; i < commits; i++) {
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
  const at = (part: number): number => sorted[Math.min(commits - 1, Math.floor(part * commits))] ?? 0;
  return { medianMs: at(0.5), p99Ms: at(0.99), mostMs: at(1), seconds };
}

writeSync(1, 'open\n');
for await (const line of createInterface({ input: process.stdin })) {
  writeSync(1, `${JSON.stringify(await work(JSON.parse(line)))}\n`);
}
process.exit();
