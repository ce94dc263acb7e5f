import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LITESTREAM, litestreamReplicate, litestreamRestore } from '../support/litestream.ts';
import {
  eventually,
  RIVULET,
  replicate,
  replicateOnce,
  rivulet,
  runOk,
  sleep,
  TestProcess,
  writeConfig,
} from '../support/processes.ts';
import {
  assertContiguous,
  assertRestoresWhole,
  assertSameBytes,
  checkpointedBytes,
  createDatabase,
  fileInTheMaking,
  insertRows,
  integrityOf,
  l0Kinds,
  l0Names,
  namesIn,
  type Place,
  placeOf,
  restoreReplica,
  SQLITE3,
  skipWithout,
  untilStored,
} from '../support/tools.ts';
import { between, PYTHON3, randomOf, untilAllWrite, WRITERS_SCHEMA, Writers } from '../support/writers.ts';

async function catchUp(t: TestContext, place: Place): Promise<TestProcess> {
  const process = await replicate(t, place.path, place.url);
  await untilStored(t, place);
  assert.equal((await process.end()).status, 0, process.output);
  return process;
}

const SEED = Number(process.env.RIVULET_TEST_SEED) || 20_260_101;
const ROUNDS = Number(process.env.RIVULET_TEST_ROUNDS) || 15;

/** Transactions of many pages, more than are kept in memory, one after the other: it is killed in the middle of one. */
const DOOMED = `
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync(process.argv[1], { timeout: 30000 });
  db.exec('PRAGMA cache_size=10; PRAGMA wal_autocheckpoint=50');
  const insert = db.prepare("INSERT INTO event (who, n, body) VALUES ('doomed', ?, randomblob(2000))");
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let n = 0; ; n++) {
    db.exec('BEGIN IMMEDIATE');
    for (let i = 0; i < 30; i++) insert.run(n);
    db.exec('COMMIT');
    Atomics.wait(pause, 0, 0, 10);
  }
`;

async function killStorm(t: TestContext, seed: number): Promise<void> {
  const place = placeOf(t);
  const { folder, path, url } = place;
  const random = randomOf(seed);
  const db = createDatabase(path);
  db.exec(WRITERS_SCHEMA);
  db.close();
  const config = writeConfig(path, url);
  const writers = new Writers(t, { path, folder, seed });
  await untilAllWrite(t, path);
  for (let round = 1; round <= ROUNDS; round++) {
    const process = rivulet(t, random() < 0.5 ? ['replicate', path, url] : ['replicate', '-config', config]);
    const doomed = new TestProcess(t, globalThis.process.execPath, ['-e', DOOMED, path]);
    await sleep(between(random, 50, 1500));
    const { signal } = await process.end('SIGKILL');
    assert.equal((await doomed.end('SIGKILL')).signal, 'SIGKILL', doomed.output);
    assert.equal(signal, 'SIGKILL', `it ended by itself in round ${round}: ${process.output}`);
    assert.doesNotMatch(process.output, /level=ERROR/, `round ${round}`);
    // Whatever is stored at this moment is a database as it was at some commit.
    if (round % 5 === 0 && l0Names(place.replica).length > 0) await restoreReplica(t, folder, url);
    if (random() < 0.3) await sleep(between(random, 50, 500));
  }
  const last = rivulet(t, ['replicate', path, url]);
  await last.says(/msg="replicating to"/);
  const work = await writers.stop();
  const { status } = await last.end('SIGTERM');
  assert.equal(status, 0, last.output);
  t.diagnostic(`seed ${seed}: ${work.join(' + ')} steps of the writers, ${l0Names(place.replica).length} files`);
  assert.equal(integrityOf(path), 'ok', 'the source itself is damaged: which SQLite did the writers use?');
  await assertRestoresWhole(t, place);
}

describe('Rivulet killed while three kinds of process write', { skip: skipWithout(SQLITE3, PYTHON3) }, () => {
  test(`${ROUNDS} times at random moments, a fourth writer with it (RIVULET_TEST_SEED=${SEED}): the restore equals the source`, (t) =>
    killStorm(t, SEED));
});

/** Kills Rivulet while it reads the whole database, `sizeBytes` into the file that it makes of it. */
async function killWhileReading(t: TestContext, place: Place, sizeBytes: number): Promise<void> {
  const process = rivulet(t, ['replicate', place.path, place.url]);
  for (;;) {
    assert.ok(process.isRunning, process.output);
    const file = fileInTheMaking(place);
    if (file && (statSync(file, { throwIfNoEntry: false })?.size ?? 0) >= sizeBytes) break;
    await nextTurn();
  }
  await process.end('SIGKILL');
}

describe('Rivulet killed while it reads a whole database of 100 MiB', { skip: skipWithout(SQLITE3) }, () => {
  test('for its first image, and for the comparison at a later start: nothing is lost', async (t) => {
    const place = placeOf(t);
    const db = createDatabase(place.path);
    for (let i = 0; i < 5; i++) insertRows(db, 20_000, 1000);
    for (const sizeBytes of [1, 30_000_000]) {
      await killWhileReading(t, place, sizeBytes);
      assert.deepEqual(l0Names(place.replica), [], 'a file that is not whole is never stored');
      insertRows(db, 10);
    }
    await replicateOnce(t, place.path, place.url);
    db.exec('UPDATE item SET name = name || 1 WHERE id % 50 = 0; PRAGMA wal_checkpoint(TRUNCATE)');
    insertRows(db, 10);
    const before = l0Names(place.replica);
    for (const sizeBytes of [0, 1_000_000]) {
      await killWhileReading(t, place, sizeBytes);
      assert.deepEqual(l0Names(place.replica), before);
      insertRows(db, 10);
    }
    await replicateOnce(t, place.path, place.url);
    db.close();
    assert.equal(assertContiguous(place.replica), BigInt(before.length) + 1n, 'one file more, made by comparing');
    await assertRestoresWhole(t, place);
  });
});

/** 1200 rows in a WAL of many frames. */
function restartable(path: string): DatabaseSync {
  const db = createDatabase(path);
  db.exec('PRAGMA wal_autocheckpoint=0');
  for (let i = 0; i < 60; i++) insertRows(db, 20);
  return db;
}

/** The updates end in the database file alone: the WAL begins anew with one small commit, and its old end stays as it was. */
function updateRestartCommit(db: DatabaseSync): void {
  db.exec("UPDATE item SET name = 'updated' WHERE id IN (1, 100, 300, 500, 900)");
  assert.equal(db.prepare('PRAGMA wal_checkpoint(RESTART)').get()?.busy, 0);
  db.exec("UPDATE item SET name = 'small' WHERE id = 1200");
}

/** What a restore by Litestream says; undefined where there is nothing to restore yet. */
async function askRestored(t: TestContext, { folder, url }: Place, sql: string): Promise<number | undefined> {
  const path = await litestreamRestore(t, folder, url).catch(() => undefined);
  if (path === undefined) return undefined;
  const restored = new DatabaseSync(path, { readOnly: true });
  try {
    return Number(restored.prepare(sql).get()?.n);
  } finally {
    restored.close();
  }
}

async function untilLitestreamHas(t: TestContext, place: Place, sql: string, count: number): Promise<void> {
  await eventually(`Litestream has it: ${sql}`, async () =>
    (await askRestored(t, place, sql)) === count ? true : undefined,
  );
}

describe('what applications do while Rivulet is down', { skip: skipWithout(SQLITE3) }, () => {
  test('a case in which an intact last frame proves nothing: updates, RESTART, one small commit', async (t) => {
    const place = placeOf(t);
    const db = restartable(place.path);
    const first = await replicate(t, place.path, place.url);
    insertRows(db, 40);
    await untilStored(t, place);
    await first.end('SIGKILL');
    updateRestartCommit(db);
    await catchUp(t, place);
    db.close();
    await assertRestoresWhole(t, place);
  });

  test('the same with Litestream, which is told of and not judged', { skip: skipWithout(LITESTREAM) }, async (t) => {
    const place = placeOf(t);
    const db = restartable(place.path);
    const first = await litestreamReplicate(t, place.path, place.replica);
    insertRows(db, 40);
    await untilLitestreamHas(t, place, 'SELECT count(*) AS n FROM item', 1240);
    await first.end('SIGKILL');
    updateRestartCommit(db);
    const again = await litestreamReplicate(t, place.path, place.replica);
    await untilLitestreamHas(t, place, "SELECT count(*) AS n FROM item WHERE name = 'small'", 1);
    // The index is not asked: its page with these names came with the small commit.
    const updated = await askRestored(t, place, "SELECT count(*) AS n FROM item NOT INDEXED WHERE name = 'updated'");
    t.diagnostic(`Litestream's restore has the small commit, and ${updated} of the 5 updates before it`);
    await again.end('SIGKILL');
    db.close();
  });

  for (const mode of ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE']) {
    for (const end of ['SIGKILL', 'SIGTERM'] as const) {
      test(`a ${mode} checkpoint and commits after it, Rivulet having ended by ${end}`, async (t) => {
        const place = placeOf(t);
        const db = createDatabase(place.path);
        insertRows(db, 100);
        const first = await replicate(t, place.path, place.url);
        insertRows(db, 100);
        await untilStored(t, place);
        await first.end(end);
        insertRows(db, 7);
        assert.equal(db.prepare(`PRAGMA wal_checkpoint(${mode})`).get()?.busy, 0);
        insertRows(db, 1);
        await catchUp(t, place);
        db.close();
        await assertRestoresWhole(t, place);
        assert.equal(
          l0Kinds(place.replica).filter((kind) => kind === 'image').length,
          1,
          'the database is not stored again',
        );
      });
    }
  }

  test('the last connection closes, which deletes the WAL', async (t) => {
    const place = placeOf(t);
    const db = createDatabase(place.path);
    insertRows(db, 100);
    const first = await replicate(t, place.path, place.url);
    await untilStored(t, place);
    await first.end('SIGKILL');
    insertRows(db, 7);
    db.close();
    assert.equal(existsSync(`${place.path}-wal`), false);
    await catchUp(t, place);
    await assertRestoresWhole(t, place);
    assert.deepEqual(l0Kinds(place.replica), ['image', 'diff']);
  });

  test('nothing: the next start stores nothing, and goes on', async (t) => {
    const place = placeOf(t);
    const db = createDatabase(place.path);
    insertRows(db, 100);
    await catchUp(t, place);
    await catchUp(t, place);
    assert.deepEqual(l0Kinds(place.replica), ['image']);
    const process = await catchUp(t, place);
    assert.match(process.output, /continuing where the last run stopped|the database is what the replica has/);
    insertRows(db, 1);
    await catchUp(t, place);
    db.close();
    await assertRestoresWhole(t, place);
    assert.equal(l0Names(place.replica).length, 2);
  });

  test('a writer that is killed in the middle of a transaction leaves no trace', async (t) => {
    const place = placeOf(t);
    const db = createDatabase(place.path);
    insertRows(db, 100);
    const process = await replicate(t, place.path, place.url);
    for (let i = 0; i < 5; i++) {
      const writer = new TestProcess(t, globalThis.process.execPath, ['-e', UNFINISHED, place.path]);
      await writer.says(/in the middle/);
      await writer.end('SIGKILL');
      insertRows(db, 2);
      await untilStored(t, place);
    }
    db.close();
    assert.equal((await process.end()).status, 0, process.output);
    await assertRestoresWhole(t, place);
    const restored = new DatabaseSync(await restoreReplica(t, place.folder, place.url));
    assert.equal(restored.prepare("SELECT count(*) AS n FROM item WHERE name = 'never'").get()?.n, 0);
    restored.close();
  });

  for (const before of [
    'nothing is replicated yet',
    'it was replicated, and left WAL mode while Rivulet was stopped',
  ]) {
    test(`a writer with a rollback journal that is killed leaves it hot, and the database half changed: ${before}`, async (t) => {
      const place = placeOf(t);
      const db = createDatabase(place.path);
      insertRows(db, 300);
      db.close();
      if (before.startsWith('it was')) await catchUp(t, place);
      const writer = new TestProcess(t, globalThis.process.execPath, ['-e', UNFINISHED, place.path, 'delete']);
      await writer.says(/in the middle/);
      await writer.end('SIGKILL');
      assert.ok(statSync(`${place.path}-journal`).size > 0, 'there is a hot journal');
      const process = await replicate(t, place.path, place.url);
      await untilStored(t, place);
      assert.equal((await process.end()).status, 0, process.output);
      await assertRestoresWhole(t, place);
      const restored = new DatabaseSync(await restoreReplica(t, place.folder, place.url));
      assert.equal(restored.prepare("SELECT count(*) AS n FROM item WHERE name <> 'never'").get()?.n, 300);
      assert.equal(restored.prepare("SELECT count(*) AS n FROM item WHERE name = 'never'").get()?.n, 0);
      restored.close();
    });
  }
});

/** More pages than SQLite keeps in memory, so that some are in the WAL, or in the database, without ever being committed. */
const UNFINISHED = `
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync(process.argv[1], { timeout: 20000 });
  db.exec('PRAGMA journal_mode=' + (process.argv[2] ?? 'wal') + '; PRAGMA cache_size=10; BEGIN IMMEDIATE');
  const insert = db.prepare("INSERT INTO item (name, body) VALUES ('never', randomblob(3000))");
  for (let i = 0; i < 300; i++) insert.run();
  console.log('in the middle');
  setInterval(() => insert.run(), 1);
`;

test('a restore that is killed leaves no half of a database, and the next one tidies up', {
  skip: skipWithout(SQLITE3),
}, async (t) => {
  const place = placeOf(t);
  const db = createDatabase(place.path);
  insertRows(db, 20_000, 1000);
  db.close();
  await runOk(t, RIVULET, ['replicate', '-once', place.path, place.url]);
  const target = join(place.folder, 'elsewhere.db');
  const restore = rivulet(t, ['restore', '-o', target, place.url]);
  while (namesIn(place.folder).every((name) => !name.includes('elsewhere'))) await nextTurn();
  await restore.end('SIGKILL');
  assert.equal(existsSync(target), false, 'it was killed before it had a whole database');
  const left = namesIn(place.folder).filter((name) => name.endsWith('.tmp'));
  assert.equal(left.length, 1);
  for (const name of left) utimesSync(join(place.folder, name), 1, 1); // one that may still be written to is left alone
  await runOk(t, RIVULET, ['restore', '-o', target, place.url]);
  assertSameBytes(readFileSync(target), checkpointedBytes(place.path), 'restored');
  assert.deepEqual(
    namesIn(place.folder).filter((name) => name.endsWith('.tmp')),
    [],
  );
});
