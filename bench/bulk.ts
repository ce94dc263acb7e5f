import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { LineProcess } from '../scripts/quickstart/child-process.ts';
import type { Contender } from './contest.ts';
import type { Workplace } from './copies.ts';
import { Rows } from './rows.ts';
import type { Tool } from './tools.ts';

const INCREMENT_SEED = 50;
const TRANSACTIONS_AN_INCREMENT = 10;
const STORED_LIMIT_MS = 60_000;

/** The first replication of a database: one image of it. */
export function firstReplication(tool: Tool, place: Workplace, original: string): Contender {
  return {
    name: tool.name,
    command: [tool.program, 'replicate', '-once', place.databasePath, place.replicaUrl],
    env: tool.env,
    prepare: () => place.reset(original),
    check: () => {
      if (!existsSync(join(place.replicaPath, 'ltx/0/0000000000000001-0000000000000001.ltx'))) {
        throw new Error(`${tool.name} stored nothing in ${place.replicaPath}`);
      }
    },
  };
}

/** The restore of what a tool stored. `expected` is what must come out, byte for byte; undefined: only that it is whole. */
export function restore(tool: Tool, place: Workplace, expected: string | undefined): Contender {
  return {
    name: tool.name,
    command: [tool.program, 'restore', '-o', place.restoredPath, place.replicaUrl],
    env: tool.env,
    prepare: () => place.clearRestored(),
    check: () => {
      if (expected !== undefined) expectSameBytes(expected, place.restoredPath);
      else expectWhole(place.restoredPath);
    },
  };
}

function expectSameBytes(expected: string, found: string): void {
  const { status, stdout, stderr } = spawnSync('cmp', [expected, found], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the restored database is not the original: ${stdout}${stderr}`);
}

function expectWhole(path: string): void {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    if (!db.prepare('SELECT commits FROM progress').get()) throw new Error(`${path} has lost its rows`);
  } finally {
    db.close();
  }
}

/** Adds increments to a tool's replica: each a few small transactions, the same for every tool. */
export async function addIncrements(tool: Tool, place: Workplace, count: number): Promise<void> {
  const folder = join(place.replicaPath, 'ltx/0');
  const stored = (): number =>
    existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.ltx')).length : 0;
  const config = join(place.folder, 'config.yml');
  writeFileSync(config, JSON.stringify(quickConfig(place)));
  const replicator = new LineProcess([tool.program, 'replicate', '-config', config], undefined, tool.env);
  const db = new DatabaseSync(place.databasePath, { timeout: 10_000 });
  try {
    const rows = new Rows(db, INCREMENT_SEED);
    for (let before = stored(); before <= count; before = stored()) {
      write(db, rows);
      for (const until = Date.now() + STORED_LIMIT_MS; stored() === before; await sleep(5)) {
        if (!replicator.running || Date.now() > until)
          throw new Error(`${tool.name} does not store:\n${replicator.log}`);
      }
    }
  } finally {
    db.close();
    await replicator.stop();
  }
  const last = new DatabaseSync(place.databasePath);
  last.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  last.close();
}

function write(db: DatabaseSync, rows: Rows): void {
  // One transaction, so that it is one increment however the tool cuts.
  db.exec('BEGIN IMMEDIATE');
  for (let i = 0; i < TRANSACTIONS_AN_INCREMENT; i++) {
    rows.addEvent();
    rows.editMessage();
  }
  db.exec('COMMIT');
}

/** Stores at once, and merges nothing. JSON is YAML. */
function quickConfig(place: Workplace): object {
  return {
    levels: [{ interval: '24h' }],
    snapshot: { interval: '24h' },
    dbs: [
      {
        path: place.databasePath,
        'monitor-interval': '20ms',
        replica: { type: 'file', path: place.replicaPath, 'sync-interval': '20ms' },
      },
    ],
  };
}
