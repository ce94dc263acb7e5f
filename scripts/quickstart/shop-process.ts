// The application of the quickstart, in a process of its own: node shop-process.ts DATABASE COMMITS_PER_SECOND.
// Writes a line once the shop is open, `open PAGE`, and one after each commit: `NUMBER MS_SINCE_1970 MS_TAKEN`.
import { writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { progressPage } from './progress-row.ts';
import { Shop } from './shop.ts';

/** Commits come in small bursts, as customers do. */
const BURST_MS = 25;

/** Others may hold the write lock for a moment: any application that shares its database waits for that. */
const BUSY_TIMEOUT_MS = 5000;

const [, , path = '', rate = ''] = process.argv;
const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
const shop = new Shop(db);
writeSync(1, `open ${progressPage(db)}\n`);

// Whoever started the shop holds its stdin: without them it does not go on.
process.stdin.on('end', () => process.exit()).resume();

let owed = 0;
for (let before = performance.now(); ; ) {
  await sleep(BURST_MS);
  const now = performance.now();
  // A machine that cannot keep up falls behind; it does not pile up a debt.
  owed = Math.min(owed + (Number(rate) * (now - before) * (0.5 + Math.random())) / 1000, Number(rate) / 4);
  before = now;
  for (; owed >= 1; owed--) {
    const since = performance.now();
    const number = shop.trade();
    writeSync(1, `${number} ${Date.now()} ${(performance.now() - since).toFixed(3)}\n`);
  }
}
