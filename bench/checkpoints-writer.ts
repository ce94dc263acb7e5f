// Commits at a steady rate, makes checkpoints of its own in between, and tells at the end how long each of them took:
// node checkpoints-writer.ts DATABASE MODE SETTINGS. Speaks as WriterProcess expects.
import { writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CheckpointSettings } from './checkpoints.ts';
import { Random } from './random.ts';
import { Rows } from './rows.ts';

const BUSY_TIMEOUT_MS = 2000;
const SEED = 400;

const [, , path = '', mode = '', settings = ''] = process.argv;
const { commitsPerSecond, commitsBetween, checkpoints }: CheckpointSettings = JSON.parse(settings);
const [least, below] = commitsBetween;
const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
db.exec('PRAGMA synchronous = NORMAL');
const rows = new Rows(db, SEED);
const random = new Random(SEED);
const checkpoint = db.prepare(`PRAGMA wal_checkpoint(${mode})`);
const everyMs = 1000 / commitsPerSecond;

process.stdin.on('end', () => process.exit());
writeSync(1, 'open\n');
await new Promise((resolve) => process.stdin.once('data', resolve));
const tookMs: number[] = [];
let refused = 0;
let nextMs = performance.now();
for (let i = 0; i < checkpoints; i++) {
  for (let left = least + random.below(below - least); left > 0; left--) {
    const earlyMs = nextMs - performance.now();
    if (earlyMs > 0) await sleep(earlyMs);
    nextMs = Math.max(nextMs, performance.now() - everyMs) + everyMs; // what a checkpoint held up is not made up for
    db.exec('BEGIN IMMEDIATE');
    rows.addEvent();
    if (left % 4 === 0) rows.editMessage();
    db.exec('COMMIT');
  }
  const sinceMs = performance.now();
  if (checkpoint.get()?.busy !== 0) refused++;
  tookMs.push(performance.now() - sinceMs);
}
writeSync(1, `${JSON.stringify({ tookMs, refused })}\n`);
