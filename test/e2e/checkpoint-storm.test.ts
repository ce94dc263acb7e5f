import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readWalIndexHead } from '../../src/sqlite/wal-index.ts';
import { DatabaseLocks, LOCK_TABLE } from '../support/locks.ts';
import { eventually, replicate, runOk, TestProcess, workFolder } from '../support/processes.ts';
import {
  assertContiguous,
  assertSameBytes,
  checkpointedBytes,
  createDatabase,
  dump,
  insertRows,
  integrityOf,
  l0Kinds,
  restoreReplica,
  SQLITE3,
  skipWithout,
} from '../support/tools.ts';
import { PYTHON3 } from '../support/writers.ts';

const ROUNDS = 80;

/**
 * Commits, checkpoints and commits again, without a pause: whatever a replicator has not read at once is moved into the
 * database and overwritten in the WAL, if nothing holds it. Each row is updated once only, so a lost commit stays lost.
 */
const IMPATIENT = `
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
const [path, who, rounds, support] = process.argv.slice(1);
const { between, randomOf } = await import(support);
const random = randomOf(Number(who));
const db = new DatabaseSync(path, { timeout: 30000 });
db.exec('PRAGMA wal_autocheckpoint=' + (Number(who) % 2 ? 1 : 0));
const update = db.prepare('UPDATE item SET name = ? WHERE id = ?');
const checkpoints = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'].map((mode) => db.prepare('PRAGMA wal_checkpoint(' + mode + ')'));
let complete = 0;
for (let i = 0; i < rounds; i++) {
  update.run('first of ' + i, (2 * i) * 2 + Number(who));
  if (checkpoints[between(random, 0, 3)].get().busy === 0) complete++;
  update.run('second of ' + i, (2 * i + 1) * 2 + Number(who));
  if (random() < 0.2) await sleep(between(random, 0, 60));
}
db.close();
console.log(complete);
`;

async function storm(t: TestContext): Promise<void> {
  const folder = workFolder(t);
  const [path, replica] = [join(folder, 'app.db'), join(folder, 'replica')];
  const url = `file://${replica}`;
  const db = createDatabase(path);
  insertRows(db, 4 * ROUNDS + 2, 400);
  db.close();
  const process = await replicate(t, path, url);
  await process.says(/ltx file uploaded/);
  const node = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', IMPATIENT, '--', path];
  const support = fileURLToPath(new URL('../support/writers.ts', import.meta.url));
  const start = (who: number): Promise<string> =>
    runOk(t, globalThis.process.execPath, [...node, String(who), String(ROUNDS), support]);
  const complete = await Promise.all([start(0), start(1)]);
  assert.equal((await process.end()).status, 0, process.output);
  assert.equal(integrityOf(path), 'ok');
  const kinds = l0Kinds(replica);
  t.diagnostic(`${complete.map(Number).join(' + ')} checkpoints were complete; ${kinds.length} files`);
  assertContiguous(replica);
  const restored = await restoreReplica(t, folder, url);
  const bytes = readFileSync(restored);
  assert.equal(await dump(t, restored), await dump(t, path));
  assertSameBytes(bytes, checkpointedBytes(path), 'the restored database and its source');
}

/** What SQLite holds for an instant when a checkpoint ends: read-lock 0, exclusively. */
const HOLD_READ_LOCK_0 = `
import fcntl, sys, time
shm = open(sys.argv[1] + '-shm', 'r+b')
fcntl.lockf(shm, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 123)
print('held', flush=True)
time.sleep(120)
`;

async function restAfterAll(t: TestContext): Promise<void> {
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  const db = createDatabase(path);
  insertRows(db, 1);
  db.exec('PRAGMA wal_checkpoint(PASSIVE)');
  const holder = new TestProcess(t, PYTHON3.path ?? '', ['-c', HOLD_READ_LOCK_0, path]);
  await holder.says(/held/);
  const process = await replicate(t, path, `file://${join(folder, 'replica')}`);
  await process.says(/ltx file uploaded/);
  await holder.end('SIGKILL');
  db.exec('PRAGMA busy_timeout = 20000');
  assert.deepEqual({ ...db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get() }, { busy: 0, log: 0, checkpointed: 0 });
  assert.equal((await process.end()).status, 0, process.output);
  db.close();
}

describe('a reader that did not get read-lock 0', { skip: skipWithout(PYTHON3) }, () => {
  test('moves again, and the TRUNCATE of the application goes on', restAfterAll);
});

const MODES = ['FULL', 'RESTART', 'TRUNCATE'] as const;

function checkpointed(db: DatabaseSync, mode: string): { busy: number; log: number } {
  const row = db.prepare(`PRAGMA wal_checkpoint(${mode})`).get();
  return { busy: Number(row?.busy), log: Number(row?.log) };
}

/** SQLite lets only one connection checkpoint at a time, and tells the others at once: without the size of the log. */
const isOthersTurn = ({ busy, log }: { busy: number; log: number }): boolean => busy === 1 && log === -1;

/** All commits are in the database file. Looked at by a process of its own: to close the -shm here would drop our locks on it. */
async function isBackfilled(t: TestContext, path: string): Promise<boolean> {
  const head = readWalIndexHead(Buffer.from(await runOk(t, 'base64', [`${path}-shm`]), 'base64'));
  return head !== undefined && head.mxFrame === head.backfilled;
}

const STREAM = `
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
const db = new DatabaseSync(process.argv[1], { timeout: 30000 });
db.exec('PRAGMA wal_autocheckpoint=0');
const insert = db.prepare("INSERT INTO item (name, body) VALUES ('streamed', randomblob(300))");
for (let i = 0; ; i++) {
  insert.run();
  if (i === 50) console.log('streaming');
  await sleep(2);
}
`;

async function ownCheckpoints(t: TestContext): Promise<void> {
  const folder = workFolder(t);
  const path = join(folder, 'app.db');
  const db = createDatabase(path);
  const process = await replicate(t, path, `file://${join(folder, 'replica')}`);
  await process.says(/ltx file uploaded/);
  const node = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', STREAM, '--', path];
  const stream = new TestProcess(t, globalThis.process.execPath, node);
  await stream.says(/streaming/);
  for (let round = 0; round < 5; round++) {
    for (const mode of MODES) {
      insertRows(db, 3);
      const { busy } = await eventually(`a ${mode} of its own`, () => {
        const outcome = checkpointed(db, mode);
        return isOthersTurn(outcome) ? undefined : outcome;
      });
      assert.equal(busy, 0, `${mode} beside commits, round ${round}`);
    }
  }
  await stream.end('SIGKILL');

  db.exec('PRAGMA busy_timeout = 0');
  const locks = new DatabaseLocks(process.pid, path);
  for (const mode of MODES) {
    insertRows(db, 3);
    await eventually('the reader rests', async () => {
      const isWhole = await isBackfilled(t, path);
      return (isWhole && locks.reads.join() === '0') || undefined;
    });
    for (let i = 0; i < 5; i++) assert.equal(checkpointed(db, mode).busy, 0, `${mode} at rest`);
  }
  assert.equal((await process.end()).status, 0, process.output);
  assert.doesNotMatch(process.output, /comparing the database/);
  db.close();
}

describe("an application's own checkpoints", { skip: skipWithout(LOCK_TABLE) }, () => {
  test('succeed beside a stream of commits, if it has some patience, and at once when nothing happens', ownCheckpoints);
});

describe('applications that checkpoint all the time', { skip: skipWithout(SQLITE3) }, () => {
  test('take no commit from us: what we capture beside them is the database', storm);
});
