import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isUnderCapture, versionOfOpen, withDatabaseFile } from '../../src/base/database-files.ts';
import { checksum } from '../../src/base/types.ts';
import { WalFollower } from '../../src/capture/wal-follower.ts';
import { loadLocalState, metaPathFor, saveState, spoolPathFor } from '../../src/replica/local-state.ts';
import { databaseChecksum } from '../restore/history.ts';
import { assertEqual, CaptureHarness, type Setup, setUp } from '../support/capture.ts';
import { readLtx } from '../support/ltx.ts';
import { TestProcess } from '../support/processes.ts';
/** Statements run in another process, so that locks are real: POSIX locks do not exist between threads of one process. */
import { type SqliteProcess, sqliteProcess } from '../support/sqlite-process.ts';
import { tempFolder } from '../support/temp.ts';

async function pageCount(app: SqliteProcess): Promise<number> {
  return Number((await app.run('PRAGMA page_count'))[0]?.page_count);
}

function saltsOf(walPath: string): string {
  const fd = openSync(walPath, 'r');
  try {
    const salts = Buffer.alloc(8);
    readSync(fd, salts, 0, 8, 16);
    return salts.toString('hex');
  } finally {
    closeSync(fd);
  }
}

/** A database with far more pages than are looked at when a capture goes on in the WAL. */
async function setUpMany(t: TestContext): Promise<Setup> {
  const setup = await setUp(t, 'PRAGMA page_size=512;');
  await setup.app.run(`CREATE TABLE few(id INTEGER PRIMARY KEY, n);
    WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 60000) INSERT INTO few SELECT x, 100 FROM c;
    INSERT INTO t(v) SELECT v FROM t; INSERT INTO t(v) SELECT v FROM t; PRAGMA wal_checkpoint(TRUNCATE)`);
  return setup;
}

/** None of them is looked at, of so many. */
function assertNotSampled(pages: readonly number[], count: number): void {
  assert.ok(pages.length > 0, 'some differ');
  for (const pgno of pages) assert.notEqual((pgno - 1) % Math.floor(count / 256), 0, `page ${pgno} of ${count}`);
}

/** Has the application truncate the WAL, however often it must ask. */
async function checkpointed(app: SqliteProcess): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const [row] = await app.run('PRAGMA wal_checkpoint(TRUNCATE)');
    if (row?.busy === 0) return;
    await setTimeout(20);
  }
  throw new Error('the WAL could not be truncated');
}

/** See append-wal-child.ts. */
function appendCommit(path: string, commit: number, pages: readonly number[]): void {
  const child = fileURLToPath(new URL('../support/append-wal-child.ts', import.meta.url));
  execFileSync(process.execPath, [child, path, String(commit), ...pages.map(String)]);
}

/** Commits one after the other, so that some always come while a checkpoint is made. */
const NEVER_PAUSES = `
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync(process.argv[1], { timeout: 30000 });
  db.exec('PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF');
  for (;;) db.exec('UPDATE t SET v = randomblob(900) WHERE id < 30');
`;

describe('capturing a live database', () => {
  for (const pageSize of [512, 4096, 65_536]) {
    test(`commits, rollbacks and a shrinking VACUUM reach the files, pages of ${pageSize} bytes`, async (t) => {
      const setup = await setUp(t, `PRAGMA page_size=${pageSize};`);
      const harness = new CaptureHarness(t, setup.path);
      await harness.capture.sync();
      assert.deepEqual(harness.kinds, ['image']);
      for (let i = 0; i < 5; i++) {
        await setup.app.run('UPDATE t SET v = randomblob(600) WHERE id % 7 = 1');
        await setup.app.run("BEGIN; INSERT INTO t(v) VALUES ('gone'); ROLLBACK");
        await setup.app.run('DELETE FROM t WHERE id % 5 = 2; VACUUM');
        await harness.capture.sync();
      }
      await harness.stop();
      assert.ok(!harness.kinds.slice(1).includes('image') && !harness.kinds.includes('diff'));
      await assertEqual(setup, harness);
    });
  }

  test('by how much the WAL grows while the whole database is read is measured and said, and over soon', async (t) => {
    const setup = await setUp(t);
    await setup.app.run(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000)
      INSERT INTO t(v) SELECT randomblob(60000) FROM c; PRAGMA wal_checkpoint(TRUNCATE)`);
    t.mock.method(WalFollower.prototype, 'bytesToMove', () => Number.POSITIVE_INFINITY); // the read stands still
    const harness = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 1 } });
    const isRead = (): boolean => harness.messages.includes('read the whole database');
    let seenBytes = 0;
    while (!isRead()) {
      await setup.app.run('UPDATE t SET v = randomblob(500) WHERE id < 20');
      if (!isRead()) seenBytes = harness.gauges.get('walFileBytes');
    }
    assert.ok(seenBytes > 0, 'while it is read');
    await harness.until(() => harness.gauges.get('comparisons') === 1, 'it is measured');
    assert.ok(harness.gauges.get('comparisonWalMostBytes') > 0);
    assert.ok(harness.messages.includes('the WAL grew while the database was read; it is checkpointed now'));
    await harness.until(() => harness.gauges.get('walFramesWaiting') === 0, 'all of it is in the database');
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('a transaction larger than the memory for pending pages becomes one file', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    const before = harness.files.length;
    await setup.app.run(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 8000)
      INSERT INTO t(v) SELECT randomblob(3000) FROM c`);
    await harness.capture.sync();
    assert.equal(harness.files.length, before + 1);
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('a file is cut at the next commit once it covers max-sync-wal-bytes', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, {
      settings: { maxSyncWalBytes: 100_000, syncIntervalMs: 60_000 },
    });
    await harness.capture.sync();
    const before = harness.files.length;
    for (let i = 0; i < 8; i++) await setup.app.run('UPDATE t SET v = randomblob(900) WHERE id < 60');
    await harness.capture.sync();
    assert.ok(harness.files.length >= before + 2, `${harness.files.length - before} files`);
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('pages that come back after a shrink are stored as the database has them', async (t) => {
    const setup = await setUp(t, 'PRAGMA auto_vacuum=FULL;');
    const harness = new CaptureHarness(t, setup.path, { settings: { syncIntervalMs: 60_000 } });
    await harness.capture.sync();
    for (let i = 0; i < 4; i++) {
      await setup.app.run('DELETE FROM t WHERE id > 20');
      // Grows by pages of which some are free again within the same transaction.
      await setup.app.run(`BEGIN; CREATE TABLE u(x); WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 400)
        INSERT INTO u SELECT randomblob(900) FROM c; DROP TABLE u; INSERT INTO t(v) SELECT randomblob(400) FROM t; COMMIT`);
      if (i % 2) await setup.app.run('PRAGMA wal_checkpoint(PASSIVE)');
    }
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('growth by free pages, a shrink below them, and growth again reach the files within one capture', async (t) => {
    const setup = await setUp(t, 'PRAGMA secure_delete=OFF;');
    const harness = new CaptureHarness(t, setup.path, { settings: { syncIntervalMs: 60_000 } });
    await harness.capture.sync();
    await setup.app.run('PRAGMA secure_delete=OFF');
    // Without a cut in between: grow by pages that are free again, shrink below them, and grow by such pages once more.
    for (let i = 0; i < 3; i++) {
      await setup.app.run(`BEGIN; CREATE TABLE u(x); WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 400)
        INSERT INTO u SELECT zeroblob(900) FROM c; DROP TABLE u; COMMIT`);
      if (i < 2) await setup.app.run('VACUUM');
    }
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('pages that the database grew by and that nobody wrote are stored all the same', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    const pages = await pageCount(setup.app);
    await setup.app.run("INSERT INTO t(v) VALUES ('before')");
    appendCommit(setup.path, pages + 4, [pages + 2]);
    await harness.capture.sync();
    await harness.stop();
    assert.deepEqual(harness.kinds.slice(1), ['increment', 'increment'].slice(0, harness.kinds.length - 1));
    assert.equal(harness.image.bytes.length, (pages + 4) * 4096);
    await assertEqual(setup, harness);
  });

  test('pages that a shrink took and that come back unwritten are stored as they are then', async (t) => {
    const setup = await setUp(t, 'PRAGMA auto_vacuum=INCREMENTAL;');
    const harness = new CaptureHarness(t, setup.path, { settings: { syncIntervalMs: 60_000 } });
    await harness.capture.sync();
    const pages = await pageCount(setup.app);
    await setup.app.run('DELETE FROM t WHERE id > 120; PRAGMA incremental_vacuum');
    const fewer = await pageCount(setup.app);
    assert.ok(fewer < pages - 5);
    // The file is cut to size here: the pages that come back are zeros, no longer what they were.
    await checkpointed(setup.app);
    await setup.app.run("UPDATE t SET v = 'more' WHERE id = 1");
    appendCommit(setup.path, pages, [fewer + 1]);
    await harness.capture.sync();
    await harness.stop();
    assert.ok(!harness.kinds.includes('diff'));
    await assertEqual(setup, harness);
  });

  test('the reader comes to rest where the application can truncate the WAL at once', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.until(() => harness.handovers > 0, 'the first handover was made');
    const handovers = harness.handovers;
    await setup.app.run("INSERT INTO t(v) VALUES ('x')");
    await harness.until(() => harness.handovers > handovers, 'the next handover was made');
    const row = await setup.app.run('PRAGMA busy_timeout=0; PRAGMA wal_checkpoint(TRUNCATE)');
    assert.equal(row.at(-1)?.busy, 0);
    await setup.app.run("INSERT INTO t(v) VALUES ('y')");
    await harness.stop();
    assert.equal(harness.kinds.includes('diff'), false);
    await assertEqual(setup, harness);
  });

  test('every L0 file says what Litestream needs: a WAL offset of at least 32', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, { storeFiles: false });
    await harness.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('x')");
    await harness.stop();
    await setup.app.run("INSERT INTO t(v) VALUES ('y'); PRAGMA wal_checkpoint(TRUNCATE)");
    const again = new CaptureHarness(t, setup.path, { after: harness, storeFiles: false });
    await again.capture.sync();
    await again.stop();
    assert.deepEqual([...harness.kinds, ...again.kinds], ['image', 'increment', 'diff']);
    for (const file of [...harness.files, ...again.files]) {
      const { header } = readLtx(readFileSync(file.path));
      assert.ok(header.wal.offset >= 32n);
      assert.equal(header.wal.size > 0n, file.kind === 'increment');
      assert.notEqual(header.databaseChecksum, 0n);
    }
    await assertEqual(setup, again);
  });
});

describe('coming back', () => {
  test('goes on from the very frame when the WAL proves that nothing was missed', async (t) => {
    const setup = await setUp(t);
    // Another reader keeps the WAL from being backfilled, and so from being restarted while nobody looks.
    const reader = await sqliteProcess(t, setup.path);
    await reader.run('BEGIN; SELECT count(*) FROM t');
    const first = new CaptureHarness(t, setup.path);
    await first.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('a')");
    await first.capture.sync();
    await first.stop();
    await setup.app.run("INSERT INTO t(v) VALUES ('b')");
    const second = new CaptureHarness(t, setup.path, { after: first });
    await second.capture.sync();
    await second.stop();
    assert.deepEqual(second.kinds, ['increment']);
    assert.ok(second.messages.includes('continuing where the last run stopped'));
    await reader.close();
    await assertEqual(setup, second);
  });

  test('by a comparison after the machine was started anew: a page may be lost from below a WAL that is intact', async (t) => {
    const setup = await setUp(t, 'PRAGMA page_size=512; PRAGMA synchronous=OFF;');
    const reader = await sqliteProcess(t, setup.path);
    await setup.app.run(
      'INSERT INTO t(v) SELECT v FROM t; INSERT INTO t(v) SELECT v FROM t; PRAGMA wal_checkpoint(TRUNCATE)',
    );
    await reader.run('BEGIN; SELECT count(*) FROM t');
    const first = new CaptureHarness(t, setup.path);
    await first.capture.sync();
    await setup.app.run("UPDATE t SET v = 'a' WHERE id = 1");
    await first.capture.sync();
    await first.stop();
    // A page that is not among those that are looked at, and that no frame holds: as it might have been before.
    const pages = readFileSync(setup.path).length / 512;
    assert.ok(pages >= 512, String(pages));
    const pgno = pages - (pages % 2);
    const fd = openSync(setup.path, 'r+');
    writeSync(fd, new Uint8Array(100).fill(7), 0, 100, (pgno - 1) * 512 + 300);
    await setTimeout(100);
    const version = versionOfOpen(fd); // nobody wrote to it
    closeSync(fd);
    const state = loadLocalState(metaPathFor(setup.path));
    assert.ok(state?.position.wal?.boot);
    saveState(
      metaPathFor(setup.path),
      { ...state.position, wal: { ...state.position.wal, version, boot: 'before' } },
      state.hashes,
    );
    const second = new CaptureHarness(t, setup.path, { after: first });
    await second.capture.sync();
    await second.stop();
    assert.deepEqual(second.kinds, ['diff']);
    assert.deepEqual(
      readLtx(readFileSync(second.files[0]?.path ?? '')).pages.map((page) => page.pgno),
      [pgno],
    );
    await reader.close();
    await assertEqual(setup, second);
  });

  test('goes on in a WAL that was begun since, when all before was in a database file that nobody wrote to', async (t) => {
    const setup = await setUp(t);
    let last = new CaptureHarness(t, setup.path);
    await last.capture.sync();
    await last.stop();
    for (const isLastToClose of [false, true]) {
      if (isLastToClose) {
        await setup.app.reopen();
        assert.equal(existsSync(`${setup.path}-wal`), false);
        last = new CaptureHarness(t, setup.path, { after: last });
        await last.capture.sync();
        await last.stop();
        assert.deepEqual(last.kinds, [], 'there is nothing to go on in');
        assert.ok(last.messages.includes('continuing where the last run stopped'));
      }
      await setup.app.run("PRAGMA wal_autocheckpoint=0; INSERT INTO t(v) VALUES ('a'); INSERT INTO t(v) VALUES ('b')");
      last = new CaptureHarness(t, setup.path, { after: last });
      await last.capture.sync();
      await last.stop();
      assert.deepEqual(last.kinds, ['increment']);
    }
    await assertEqual(setup, last);
  });

  test('leaves an empty WAL, so that a database that is put there next is not damaged by it', async (t) => {
    const setup = await setUp(t);
    const copy = `${setup.path}.copy`;
    await setup.app.run(`VACUUM INTO '${copy}'`);
    const first = new CaptureHarness(t, setup.path);
    await first.capture.sync();
    await setup.app.run('UPDATE t SET v = randomblob(700)');
    await setup.app.kill();
    await first.stop();
    assert.equal(statSync(`${setup.path}-wal`).size, 0);
    renameSync(copy, setup.path);
    const app = await sqliteProcess(t, setup.path);
    assert.equal((await app.run('PRAGMA integrity_check'))[0]?.integrity_check, 'ok');
    const second = new CaptureHarness(t, setup.path, { after: first });
    await second.capture.sync();
    await second.stop();
    await assertEqual({ path: setup.path, app }, second);
  });

  for (const end of ['stop', 'kill'] as const) {
    test(`by a comparison when an older copy was put back into the same file, which differs in few pages, after a ${end}`, async (t) => {
      const setup = await setUpMany(t);
      const copy = readFileSync(setup.path);
      const first = new CaptureHarness(t, setup.path);
      await first.capture.sync();
      for (const id of [2001, 3733]) {
        await setup.app.run(`UPDATE few SET n = 101 WHERE id = ${id}`);
        await first.capture.sync();
        await first.until(() => first.gauges.get('walFramesWaiting') === 0, 'it is in the database file');
        await setTimeout(100); // where to go on is known by then
      }
      const metaPath = metaPathFor(setup.path);
      const state = `${metaPath}.as-it-was`;
      if (end === 'kill') cpSync(metaPath, state, { recursive: true });
      await setup.app.close();
      await first.stop();
      assertNotSampled(first.image.differences(copy), copy.length / 512);
      if (end === 'kill') {
        rmSync(metaPath, { recursive: true });
        renameSync(state, metaPath);
      }
      for (const name of ['-wal', '-shm']) rmSync(setup.path + name, { force: true });
      writeFileSync(setup.path, copy); // the same file, as `cp` does it
      const second = new CaptureHarness(t, setup.path, { after: first });
      await second.capture.sync();
      await second.stop();
      assert.deepEqual(second.kinds, ['diff']);
      await assertEqual({ path: setup.path, app: await sqliteProcess(t, setup.path) }, second);
    });
  }

  test('an older copy that is put into the file meanwhile, and differs in few pages, ends the capture before anything is built on it', async (t) => {
    const setup = await setUpMany(t);
    const copy = `${setup.path}.copy`;
    execFileSync('cp', [setup.path, copy]);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    for (const id of [2001, 3733]) {
      await setup.app.run(`UPDATE few SET n = 101 WHERE id = ${id}`);
      await harness.capture.sync();
    }
    await setup.app.close();
    await harness.until(() => harness.gauges.get('walFramesWaiting') === 0, 'it is in the database file');
    await setTimeout(500); // it rests
    const before = readFileSync(copy);
    assertNotSampled(harness.image.differences(before), before.length / 512);
    const files = harness.files.length;
    const ended = assert.rejects(harness.done, { code: 'DATABASE_OVERWRITTEN' });
    execFileSync('cp', [copy, setup.path]); // another process: this one must not open it
    const app = await sqliteProcess(t, setup.path);
    await app.run('INSERT INTO few(n) VALUES (1), (2), (3)');
    await ended;
    assert.equal(harness.files.length, files);
  });

  test('checkpoints of the application that write to the file are no reason for anything, once the file is found right', async (t) => {
    const setup = await setUpMany(t);
    const first = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 1_000_000 } });
    await first.capture.sync();
    await setup.app.run('UPDATE few SET n = 102; PRAGMA wal_checkpoint(FULL)');
    await first.capture.sync();
    const size = statSync(setup.path).size;
    await first.until(() => first.gauges.get('walFramesWaiting') === 0, 'it is in the database file');
    await setTimeout(500);
    await first.stop();
    const second = new CaptureHarness(t, setup.path, { after: first });
    await setup.app.run('UPDATE few SET n = 103 WHERE id = 1');
    await second.capture.sync();
    await second.stop();
    assert.ok(second.files[0] && second.files[0].sizeBytes < size / 10);
    assert.deepEqual(second.kinds, ['increment']);
    await assertEqual(setup, second);
  });

  test('once an application lets it be opened that had it for itself', async (t) => {
    const setup = await setUp(t);
    await setup.app.run("PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t(v) VALUES ('alone')");
    const harness = new CaptureHarness(t, setup.path);
    await harness.until(() => harness.states.some(({ kind }) => kind === 'waiting'), 'it is busy');
    await setup.app.run('PRAGMA locking_mode=NORMAL; SELECT count(*) FROM t');
    await harness.until(() => harness.files.length > 0, 'it is captured');
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('by a comparison when nothing but the WAL and its index were removed meanwhile, and made anew', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    await setup.app.kill();
    execFileSync('rm', [`${setup.path}-wal`, `${setup.path}-shm`]);
    const app = await sqliteProcess(t, setup.path);
    await app.run("PRAGMA wal_autocheckpoint=0; INSERT INTO t(v) VALUES ('in a new WAL')");
    await harness.until(() => harness.files.length > 1, 'the commit is captured');
    await harness.stop();
    await assertEqual({ path: setup.path, app }, harness);
  });

  test('by a comparison when the WAL was removed with commits in it', async (t) => {
    const setup = await setUpMany(t);
    const reader = await sqliteProcess(t, setup.path);
    await reader.run('BEGIN; SELECT count(*) FROM t'); // nothing after this gets into the database file
    const first = new CaptureHarness(t, setup.path);
    await first.capture.sync();
    await setup.app.run('UPDATE few SET n = 101 WHERE id = 3733');
    await first.capture.sync();
    await first.stop();
    const database = readFileSync(setup.path);
    assertNotSampled(first.image.differences(database), database.length / 512);
    await Promise.all([reader.kill(), setup.app.kill()]);
    for (const name of ['-wal', '-shm']) rmSync(setup.path + name);
    const app = await sqliteProcess(t, setup.path);
    await app.run('PRAGMA wal_autocheckpoint=0; UPDATE few SET n = 101 WHERE id = 1001');
    const second = new CaptureHarness(t, setup.path, { after: first });
    await second.capture.sync();
    await second.stop();
    assert.deepEqual(second.kinds, ['diff']);
    await assertEqual({ path: setup.path, app }, second);
  });

  const away: Record<string, (setup: Setup) => Promise<unknown>> = {
    'the application checkpoints and restarts the WAL': ({ app }) =>
      app.run(
        "UPDATE t SET v = randomblob(99) WHERE id < 6; PRAGMA wal_checkpoint(RESTART); INSERT INTO t(v) VALUES ('small')",
      ),
    'the application truncates the WAL': ({ app }) =>
      app.run(
        "UPDATE t SET v = randomblob(99) WHERE id < 6; PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(v) VALUES ('small')",
      ),
    'the last connection closes and the WAL is deleted': async ({ app }) => {
      await app.run('UPDATE t SET v = randomblob(99) WHERE id < 6');
      await app.reopen();
      await app.run('PRAGMA wal_autocheckpoint=0; UPDATE t SET v = randomblob(99) WHERE id = 7');
    },
    'the database leaves WAL mode and comes back to it': ({ app }) =>
      app.run('PRAGMA journal_mode=delete; UPDATE t SET v = randomblob(99) WHERE id < 6; PRAGMA journal_mode=wal'),
    'the database leaves WAL mode for good': ({ app }) =>
      app.run('PRAGMA journal_mode=delete; UPDATE t SET v = randomblob(99) WHERE id < 6'),
    'it is vacuumed and checkpointed': ({ app }) =>
      app.run('DELETE FROM t WHERE id > 50; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)'),
  };
  for (const [what, meanwhile] of Object.entries(away)) {
    test(`by a comparison when, while nobody looked, ${what}`, async (t) => {
      const setup = await setUp(t);
      const first = new CaptureHarness(t, setup.path);
      await first.capture.sync();
      await setup.app.run("INSERT INTO t(v) VALUES ('a')");
      await first.stop();
      await meanwhile(setup);
      const second = new CaptureHarness(t, setup.path, { after: first });
      await second.capture.sync();
      await second.stop();
      assert.deepEqual(second.kinds, ['diff']);
      await assertEqual(setup, second);
    });
  }

  test('by a comparison when nothing had been captured from the WAL: every new WAL looks the same', async (t) => {
    const path = join(tempFolder(t), 'app.db');
    const app = await sqliteProcess(t, path);
    await app.run('CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); INSERT INTO t(v) VALUES (1)');
    const first = new CaptureHarness(t, path);
    await first.capture.sync();
    await first.stop();
    await app.run("INSERT INTO t(v) VALUES ('while nobody looked')");
    await app.close(); // the last connection: checkpoints, and deletes the WAL
    const second = new CaptureHarness(t, path, { after: first });
    await second.capture.sync();
    await second.stop();
    assert.deepEqual(second.kinds, ['diff']);
    await assertEqual({ path, app: await sqliteProcess(t, path) }, second);
  });

  test('with nothing changed, nothing is stored', async (t) => {
    const setup = await setUp(t);
    const first = new CaptureHarness(t, setup.path);
    await first.capture.sync();
    await first.stop();
    await setup.app.run('PRAGMA wal_checkpoint(TRUNCATE)');
    const second = new CaptureHarness(t, setup.path, { after: first });
    await second.capture.sync();
    await second.stop();
    assert.deepEqual(second.kinds, []);
    await assertEqual(setup, second);
  });

  test('a spool file that was never announced is made anew', async (t) => {
    const setup = await setUp(t);
    const first = new CaptureHarness(t, setup.path);
    await first.capture.sync();
    await first.stop();
    const spool = spoolPathFor(metaPathFor(setup.path));
    writeFileSync(join(spool, '0000000000000002-0000000000000002.ltx'), 'half a file');
    writeFileSync(join(spool, '0000000000000003-0000000000000003.ltx.tmp'), '');
    await setup.app.run("INSERT INTO t(v) VALUES ('a')");
    const second = new CaptureHarness(t, setup.path, { after: first });
    await second.capture.sync();
    await second.stop();
    assert.equal(second.image.txid, 2n);
    await second.until(() => readdirSync(spool).length === 1, 'the older file is removed');
    assert.deepEqual(readdirSync(spool), ['0000000000000002-0000000000000002.ltx']);
    await assertEqual(setup, second);
  });
});

describe('when things go wrong', () => {
  test('waits for a database that is missing or empty, and takes it up', async (t) => {
    const path = join(tempFolder(t), 'later.db');
    const harness = new CaptureHarness(t, path);
    await harness.until(() => harness.states.some((s) => s.kind === 'waiting'), 'it waits for the file');
    writeFileSync(path, '');
    await harness.until(
      () => harness.states.some((s) => s.kind === 'waiting' && /empty/.test(s.reason)),
      'it sees it is empty',
    );
    const app = await sqliteProcess(t, path);
    await app.run('CREATE TABLE t(x); INSERT INTO t VALUES (1)');
    await harness.until(() => harness.files.length > 0, 'the image is there');
    await harness.stop();
    await assertEqual({ path, app }, harness);
  });

  for (const how of ['a sync', 'a stop'] as const) {
    test(`a database that another one was renamed over a moment ago: ${how} means the one that is there`, async (t) => {
      const setup = await setUp(t);
      // It would not be looked for by itself.
      const harness = new CaptureHarness(t, setup.path, { settings: { monitorIntervalMs: 3_600_000 } });
      await harness.capture.sync();
      await setup.app.close();
      const other = `${setup.path}.other`;
      const maker = await sqliteProcess(t, other);
      await maker.run('PRAGMA journal_mode=wal; CREATE TABLE another(x); INSERT INTO another VALUES (zeroblob(50000))');
      await maker.close();
      for (const suffix of ['-wal', '-shm']) rmSync(setup.path + suffix, { force: true });
      renameSync(other, setup.path);
      const app = await sqliteProcess(t, setup.path);
      if (how === 'a sync') {
        await harness.capture.sync();
        await assertEqual({ path: setup.path, app }, harness);
      }
      await harness.stop();
      await assertEqual({ path: setup.path, app }, harness);
    });
  }

  test('a database that another one is renamed over is compared and followed', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    const other = `${setup.path}.other`;
    const app = await sqliteProcess(t, other);
    await app.run(
      'PRAGMA journal_mode=wal; CREATE TABLE another(x); INSERT INTO another VALUES (zeroblob(50000)); PRAGMA journal_mode=delete',
    );
    await app.close();
    await setup.app.close();
    for (const suffix of ['-wal', '-shm']) rmSync(setup.path + suffix, { force: true });
    renameSync(other, setup.path);
    await harness.until(() => harness.kinds.includes('diff'), 'the new database was compared');
    const renamed = await sqliteProcess(t, setup.path);
    await renamed.run('INSERT INTO another VALUES (2)');
    await harness.capture.sync();
    await harness.stop();
    await assertEqual({ path: setup.path, app: renamed }, harness);
  });

  test('the first image may be larger than the spool cap', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, { settings: { maxSpoolBytes: 20_000 }, storeFiles: false });
    await harness.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('x')");
    await harness.capture.sync();
    await harness.stop();
    assert.ok((harness.files[0]?.sizeBytes ?? 0) > 20_000);
    assert.deepEqual(harness.kinds, ['image', 'increment']);
    assert.ok(!harness.states.some((state) => state.kind === 'suspended'));
    await assertEqual(setup, harness);
  });

  test('a transaction that changes much of a large database becomes one increment', async (t) => {
    const setup = await setUp(t, 'PRAGMA page_size=512;');
    const settings = { maxSpoolBytes: 4_000_000_000, maxSyncWalBytes: 0 };
    const harness = new CaptureHarness(t, setup.path, { settings });
    await harness.capture.sync();
    // 300,000 pages, some of them in the database already.
    await setup.app.run(
      "BEGIN; UPDATE t SET v = 'x' WHERE id % 3 = 1; INSERT INTO t(v) VALUES (zeroblob(150000000)); COMMIT",
    );
    await harness.capture.sync();
    await setup.app.run("UPDATE t SET v = 'y' WHERE id % 2 = 1");
    await harness.capture.sync();
    await harness.stop();
    assert.ok(Math.max(...harness.files.map((file) => file.pageCount)) > 290_000);
    assert.ok(!harness.kinds.slice(1).includes('diff'));
    await setup.app.run('PRAGMA wal_checkpoint(TRUNCATE)');
    const database = readFileSync(setup.path);
    assert.deepEqual(harness.image.differences(database), []);
    assert.equal(loadLocalState(metaPathFor(setup.path))?.hashes.databaseChecksum, databaseChecksum(database, 512));
    assert.equal(harness.progress.at(-1), 1);
  });

  test('past the spool cap capture pauses, checkpoints go on, and a comparison resumes it', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, {
      settings: { maxSpoolBytes: 400_000, minCheckpointPages: 50 },
      storeFiles: false,
    });
    await harness.capture.sync();
    for (let i = 0; i < 30 && !harness.states.some((s) => s.kind === 'suspended'); i++) {
      await setup.app.run('UPDATE t SET v = randomblob(900)');
      await harness.capture.sync().catch(() => undefined);
    }
    await harness.until(() => harness.states.at(-1)?.kind === 'suspended', 'capture is suspended');
    const spooled = harness.files.length;
    const walBytes: number[] = [];
    for (let i = 0; i < 30; i++) {
      await setup.app.run('UPDATE t SET v = randomblob(900)');
      if (i % 5 === 4) await setTimeout(250);
      walBytes.push(readFileSync(`${setup.path}-wal`).length);
    }
    assert.equal(harness.files.length, spooled, 'nothing is spooled meanwhile');
    assert.ok(Math.max(...walBytes) < 30 * 60 * 4120, `the WAL was restarted meanwhile: ${Math.max(...walBytes)}`);
    for (const file of harness.files) harness.capture.stored(file);
    await harness.until(() => harness.states.at(-1)?.kind === 'attached', 'capture is resumed');
    await harness.capture.sync();
    await harness.stop();
    assert.ok(harness.kinds.includes('diff'));
    await assertEqual(setup, harness);
  });

  test('past the spool cap the WAL is begun anew and its file shrunk although commits never pause, and it is measured', async (t) => {
    const setup = await setUp(t);
    const limitBytes = 32 + 500 * 4120;
    const harness = new CaptureHarness(t, setup.path, {
      settings: { maxSpoolBytes: 50_000, minCheckpointPages: 50, truncatePages: 500 },
      storeFiles: false,
    });
    await harness.capture.sync();
    await setup.app.run('UPDATE t SET v = randomblob(900)');
    await harness.until(() => harness.states.at(-1)?.kind === 'suspended', 'capture is suspended');
    const writer = new TestProcess(t, process.execPath, ['-e', NEVER_PAUSES, setup.path]);
    await harness.until(() => harness.gauges.get('walFileMostBytes') > limitBytes, 'the WAL is seen to grow');
    const salts = new Set<string>();
    const isShrunk = (): boolean => {
      salts.add(saltsOf(`${setup.path}-wal`));
      return statSync(`${setup.path}-wal`).size < limitBytes && harness.gauges.get('walFileBytes') < limitBytes;
    };
    for (let times = 0; times < 3; times++) {
      await harness.until(isShrunk, 'the WAL is shrunk');
      await harness.until(() => !isShrunk(), 'the WAL grows');
    }
    assert.ok(salts.size >= 3, 'it is begun anew');
    assert.ok(writer.isRunning, writer.output);
    await writer.end('SIGKILL');
    const storing = setInterval(() => {
      for (const file of harness.files) harness.capture.stored(file);
    }, 10);
    t.after(() => clearInterval(storing));
    await harness.until(() => harness.messages.includes('capture resumed'), 'it goes on');
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('commits that shrink the database and let it grow again do not each make a file', async (t) => {
    const setup = await setUp(t, 'PRAGMA auto_vacuum=FULL;');
    const harness = new CaptureHarness(t, setup.path, { settings: { syncIntervalMs: 60_000 } });
    await harness.capture.sync();
    for (let i = 0; i < 40; i++) {
      await setup.app.run(`INSERT INTO t VALUES (1000, randomblob(${9000 + i * 100}))`);
      await setup.app.run('DELETE FROM t WHERE id = 1000');
    }
    await harness.capture.sync();
    assert.deepEqual(harness.kinds, ['image', 'increment']);
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('files that are given up leave their TXIDs to a difference that holds all they did, even where nothing was written since', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, { storeFiles: false });
    await harness.capture.sync();
    const [image] = harness.files;
    assert.ok(image);
    harness.capture.stored(image);
    for (const ids of ['id < 20', 'id > 190', 'id % 50 = 0']) {
      await setup.app.run(`UPDATE t SET v = randomblob(700) WHERE ${ids}`);
      await harness.capture.sync();
    }
    const before = harness.files.splice(1);
    const changed = new Set(before.flatMap(({ path }) => readLtx(readFileSync(path)).pages.map(({ pgno }) => pgno)));
    const base = { txid: 1n, fileChecksum: image.fileChecksum, lacksSnapshot: false };
    harness.capture.giveUp({ from: 2n, base });
    assert.equal(await harness.capture.sync(), 2n);
    assert.deepEqual([harness.timesGivenUp, harness.kinds], [1, ['image', 'diff']]);
    const pages = readLtx(readFileSync(harness.files[1]?.path ?? '')).pages.map(({ pgno }) => pgno);
    assert.deepEqual(new Set(pages), changed.add(1));
    assert.equal(readdirSync(join(metaPathFor(setup.path), 'spool')).length, 1);
    await setup.app.run('DELETE FROM t WHERE id > 150');
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('nothing to give up, by the time it is asked for: what comes next is right all the same', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('more')");
    await harness.capture.sync();
    await harness.until(() => harness.files.length === 2, 'there are two files');
    const base = { txid: 2n, fileChecksum: harness.files[1]?.fileChecksum ?? checksum(0n), lacksSnapshot: false };
    harness.capture.giveUp({ from: 3n, base });
    await harness.until(() => harness.timesGivenUp === 1, 'it says so');
    await setup.app.run('UPDATE t SET v = randomblob(100) WHERE id = 100');
    await harness.stop();
    await assertEqual(setup, harness);
    const last = readLtx(readFileSync(harness.files.at(-1)?.path ?? '')).header;
    assert.equal(last.databaseChecksum, databaseChecksum(readFileSync(setup.path), 4096));
  });

  test('where the database is gone, files that are given up are kept aside, and the stop fails', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, { storeFiles: false });
    await harness.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('more')");
    await harness.capture.sync();
    for (const end of ['', '-wal', '-shm']) rmSync(setup.path + end);
    await harness.until(() => harness.states.at(-1)?.kind === 'waiting', 'it is seen');
    harness.capture.giveUp({ from: 1n, base: { txid: 0n, fileChecksum: checksum(0n), lacksSnapshot: false } });
    await harness.until(() => harness.timesGivenUp === 1, 'they are given up');
    await assert.rejects(harness.stop(), { code: 'NOT_STORED' });
    const [aside] = readdirSync(metaPathFor(setup.path)).filter((name) => name.startsWith('unstored-'));
    assert.ok(aside);
    assert.deepEqual(readdirSync(join(metaPathFor(setup.path), aside)).length, 2);
  });

  test('a process opens a database that it captures only once', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    assert.equal(isUnderCapture(setup.path), true);
    assert.throws(() => withDatabaseFile(setup.path, () => 0), { code: 'DATABASE_UNDER_CAPTURE' });
    const second = new CaptureHarness(t, setup.path);
    await second.until(() => second.states.some((s) => s.kind === 'failed'), 'the second capture fails');
    await second.stop().catch(() => undefined);
    await setup.app.run("INSERT INTO t(v) VALUES ('after')");
    await harness.stop();
    assert.equal(isUnderCapture(setup.path), false);
    await assertEqual(setup, harness);
  });

  test('a sync that waits when the last capture fails fails with it', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    const second = new CaptureHarness(t, setup.path);
    await second.until(() => second.states.some((s) => s.kind === 'failed'), 'the second capture fails');
    second.capture.stop();
    const synced = second.capture.sync();
    await assert.rejects(second.done, { code: 'DATABASE_UNDER_CAPTURE' });
    await assert.rejects(synced, { code: 'DATABASE_UNDER_CAPTURE' });
  });

  test('stopping leaves the WAL, so that the next start can prove that it goes on', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('a')");
    await setup.app.close();
    await harness.stop();
    assert.equal(existsSync(`${setup.path}-wal`), true);
    const copy = `${setup.path}.copy`;
    copyFileSync(setup.path, copy);
    copyFileSync(`${setup.path}-wal`, `${copy}-wal`);
    const database = new DatabaseSync(copy);
    assert.equal(database.prepare("SELECT count(*) AS n FROM t WHERE v = 'a'").get()?.n, 1);
    database.close();
  });
});
