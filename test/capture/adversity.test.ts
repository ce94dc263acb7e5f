import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs, {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { isUnderCapture } from '../../src/base/database-files.ts';
import { Connection } from '../../src/capture/connections.ts';
import { SnapshotReader } from '../../src/capture/snapshot-reader.ts';
import { WalFollower } from '../../src/capture/wal-follower.ts';
import { frameOffset } from '../../src/sqlite/wal.ts';
import { assertEqual, CaptureHarness, setUp } from '../support/capture.ts';
import { sqliteProcess } from '../support/sqlite-process.ts';
import { tempFolder } from '../support/temp.ts';

/*
 * What goes wrong at the one moment where it hurts: a lock that is busy, a disk that fails, frames that do not prove
 * themselves, a file that is not the one it was.
 */

const PAGE_SIZE = 4096;

function sqliteError(errcode: number, message: string): Error {
  return Object.assign(new Error(message), { code: 'ERR_SQLITE_ERROR', errcode });
}

const { beginRead, checkpoint, close, run } = Connection.prototype;
const { handOver } = WalFollower.prototype;

afterEach(() => {
  Object.assign(Connection.prototype, { beginRead, checkpoint, close, run });
  Object.assign(WalFollower.prototype, { handOver });
});

/** The next read transaction that begins finds the database busy. */
function busyOnce(): void {
  Connection.prototype.beginRead = () => {
    Connection.prototype.beginRead = beginRead;
    throw sqliteError(5, 'database is locked');
  };
}

describe('a lock that is busy for a moment', () => {
  test('at the start is no reason to leave out the comparison', async (t) => {
    const setup = await setUp(t);
    const first = new CaptureHarness(t, setup.path);
    await first.capture.sync();
    await first.stop();
    await setup.app.run("UPDATE t SET v = 'while nobody looked' WHERE id < 10; PRAGMA wal_checkpoint(TRUNCATE)");
    busyOnce();
    const second = new CaptureHarness(t, setup.path, { after: first });
    await second.until(() => second.states.some(({ kind }) => kind === 'attached'), 'it is there');
    await second.capture.sync();
    await second.stop();
    assert.deepEqual(second.kinds, ['diff']);
    await assertEqual(setup, second);
  });

  test('right after a handover failed loses nothing that was pending', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 5, syncIntervalMs: 5000 } });
    await harness.capture.sync();
    let failed = false;
    WalFollower.prototype.handOver = function (this: WalFollower) {
      if (failed || this.pending.count < 5) return handOver.call(this);
      failed = true;
      Connection.prototype.checkpoint = () => {
        Connection.prototype.checkpoint = checkpoint;
        busyOnce();
        throw sqliteError(1, 'something odd');
      };
      return handOver.call(this);
    };
    // A handover that begins in the middle of a commit finds nothing pending: then the next one fails.
    for (let tries = 0; !failed && tries < 1000; tries++) await setup.app.run('UPDATE t SET v = randomblob(500)');
    await harness.until(() => failed, 'a handover fails');
    await harness.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('later')");
    await harness.stop();
    await assertEqual(setup, harness);
  });
});

const LARGE_COMMIT = `
  const { DatabaseSync } = require('node:sqlite');
  const db = new DatabaseSync(process.argv[1], { timeout: 30000 });
  db.exec('PRAGMA wal_autocheckpoint=0');
  db.exec('CREATE TABLE IF NOT EXISTS more(v); INSERT INTO more VALUES (zeroblob(1000000))');
`;

describe('a disk that does not take a checkpoint', () => {
  test('is said once, and capture goes on', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path);
    await harness.capture.sync();
    let tries = 0;
    Connection.prototype.run = function (this: Connection, sql: string) {
      if (!sql.includes('wal_checkpoint')) return run.call(this, sql);
      tries++;
      throw sqliteError(13, 'database or disk is full');
    };
    for (let i = 0; i < 3; i++) {
      await setup.app.run("INSERT INTO t(v) VALUES ('a')");
      await harness.capture.sync();
    }
    await harness.until(() => tries > 6, 'checkpoints are tried');
    assert.equal(harness.messages.filter((message) => message === 'the disk does not take a checkpoint').length, 1);
    Connection.prototype.run = run;
    await harness.stop();
    assert.ok(!harness.states.some(({ kind }) => kind === 'failed'));
    await assertEqual(setup, harness);
  });

  test('is not filled by a WAL that grows because a read stands still, wherever Rivulet keeps its files', async (t) => {
    const setup = await setUp(t);
    await setup.app.run('INSERT INTO t(v) VALUES (zeroblob(40000000)); PRAGMA wal_checkpoint(TRUNCATE)');
    const metaPath = join(tempFolder(t), 'elsewhere');
    t.mock.method(WalFollower.prototype, 'bytesToMove', () => Number.POSITIVE_INFINITY); // it stands still
    const { statfsSync } = fs;
    let freeBytes = 3_000_000;
    // The database's disk alone; there is room where our files are.
    t.mock.method(fs, 'statfsSync', (path: string) => ({
      ...statfsSync(path),
      bsize: 1,
      bavail: path === dirname(setup.path) ? freeBytes : 2 ** 40,
    }));
    syncBuiltinESMExports();
    t.after(() => syncBuiltinESMExports());
    const { readRun } = SnapshotReader.prototype;
    let runs = 0;
    t.mock.method(
      SnapshotReader.prototype,
      'readRun',
      function (this: SnapshotReader, ...args: Parameters<typeof readRun>) {
        if (freeBytes < 2 ** 40 && runs++ % 10 === 0) execFileSync(process.execPath, ['-e', LARGE_COMMIT, setup.path]);
        readRun.apply(this, args);
      },
    );
    const harness = new CaptureHarness(t, setup.path, { settings: { metaPath, minCheckpointPages: 50 } });
    await harness.until(() => harness.states.at(-1)?.kind === 'suspended', 'it is given up');
    assert.ok(statSync(`${setup.path}-wal`).size < 8_000_000, 'long before everything is read');
    await harness.until(() => harness.gauges.get('walFramesWaiting') === 0, 'the WAL is checkpointed');
    assert.deepEqual(harness.files, []);
    freeBytes = 2 ** 40;
    await harness.until(() => harness.messages.includes('capture resumed'), 'it is read again');
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('does not end the capture when there is no room for its own files either', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, {
      settings: { maxSpoolBytes: 1, minCheckpointPages: 1 },
      storeFiles: false,
    });
    await harness.capture.sync();
    await setup.app.run('UPDATE t SET v = randomblob(500)');
    await harness.until(() => harness.states.some(({ kind }) => kind === 'suspended'), 'it is suspended');
    Connection.prototype.checkpoint = () => {
      throw sqliteError(13, 'database or disk is full');
    };
    await setup.app.run('UPDATE t SET v = randomblob(500)');
    await harness.until(() => harness.messages.includes('a checkpoint failed'), 'a checkpoint fails');
    Connection.prototype.checkpoint = checkpoint;
    const storing = setInterval(() => {
      for (const file of harness.files) harness.capture.stored(file);
    }, 10);
    t.after(() => clearInterval(storing));
    // The file that catches up is over the cap of this test as well.
    const resumed = (): number => harness.messages.filter((message) => message === 'capture resumed').length;
    await harness.until(() => resumed() >= 2, 'it goes on');
    await harness.stop();
    await assertEqual(setup, harness);
  });
});

describe('a WAL that does not prove itself', () => {
  test('because committed frames have no checksum is checkpointed, and compared', async (t) => {
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, { settings: { checkpointIntervalMs: 0 } });
    await harness.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('a')");
    await harness.until(() => harness.files.length === 2, 'the commit is captured');
    await harness.stop();
    // What older SQLites leave: frames that the WAL-index knows, without salts and checksum.
    await setup.app.run("UPDATE t SET v = 'unproven' WHERE id = 3");
    const wal = openSync(`${setup.path}-wal`, 'r+');
    writeSync(wal, Buffer.alloc(16), 0, 16, frameOffset(0, PAGE_SIZE) + 8);
    closeSync(wal);
    const again = new CaptureHarness(t, setup.path, { after: harness });
    await again.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('b')");
    await again.capture.sync();
    await again.stop();
    assert.deepEqual(again.kinds, ['diff', 'increment']);
    assert.ok(!again.states.some(({ kind }) => kind === 'failed'));
    await assertEqual(setup, again);
  });

  test('because commits were lost to a power failure, and others made under the same salts, is compared', async (t) => {
    const setup = await setUp(t);
    const reader = await sqliteProcess(t, setup.path);
    await reader.run('BEGIN; SELECT count(*) FROM t'); // keeps the WAL from being restarted
    const first = new CaptureHarness(t, setup.path);
    await first.capture.sync();
    const kept = readFileSync(`${setup.path}-wal`).length;
    await setup.app.run("UPDATE t SET v = 'lost' WHERE id = 5");
    await first.capture.sync();
    await first.stop();
    await reader.kill();
    await setup.app.kill();
    // The machine comes back with the WAL as it was a moment before; the WAL-index is made anew. As many frames follow.
    truncateSync(`${setup.path}-wal`, kept);
    rmSync(`${setup.path}-shm`);
    const app = await sqliteProcess(t, setup.path);
    await app.run("PRAGMA wal_autocheckpoint=0; UPDATE t SET v = 'other' WHERE id = 150");
    const second = new CaptureHarness(t, setup.path, { after: first });
    await second.capture.sync();
    await second.stop();
    assert.deepEqual(second.kinds, ['diff']);
    await assertEqual({ path: setup.path, app }, second);
  });
});

describe('another database in the place of the one that was captured, beside its WAL', () => {
  for (const how of ['moved over it', 'copied over it']) {
    test(`${how}, while nobody looked: compared`, async (t) => {
      const setup = await setUp(t);
      const first = new CaptureHarness(t, setup.path);
      await first.capture.sync();
      await setup.app.run("INSERT INTO t(v) VALUES ('a')");
      await first.stop();
      await setup.app.kill(); // the WAL stays: nobody closed the database
      const other = join(dirname(setup.path), 'other.db');
      const maker = await sqliteProcess(t, other);
      await maker.run(`PRAGMA journal_mode=wal; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);
        WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200) INSERT INTO t SELECT x, zeroblob(500) FROM c`);
      await maker.close();
      rmSync(`${setup.path}-shm`);
      if (how === 'moved over it') renameSync(other, setup.path);
      else {
        const fd = openSync(setup.path, 'r+');
        writeSync(fd, readFileSync(other));
        closeSync(fd);
      }
      const app = await sqliteProcess(t, setup.path);
      const second = new CaptureHarness(t, setup.path, { after: first });
      await second.capture.sync();
      await second.stop();
      assert.deepEqual(second.kinds, ['diff']);
      await assertEqual({ path: setup.path, app }, second);
      assert.ok(readdirSync(dirname(setup.path)).length > 0);
    });
  }
});

const NO_PROC = !existsSync('/proc/self/fd') && 'needs /proc';

test('a connection that fails to close keeps nothing else open', { skip: NO_PROC }, async (t) => {
  const setup = await setUp(t);
  const harness = new CaptureHarness(t, setup.path);
  await harness.capture.sync();
  Connection.prototype.close = function (this: Connection) {
    close.call(this);
    throw sqliteError(10, 'disk I/O error');
  };
  await assert.rejects(harness.stop(), /disk I\/O error/);
  Connection.prototype.close = close;
  assert.equal(isUnderCapture(setup.path), false);
  const open = readdirSync('/proc/self/fd').map((fd) => readlinkIfThere(`/proc/self/fd/${fd}`));
  assert.deepEqual(
    open.filter((file) => file?.startsWith(setup.path)),
    [],
  );
  await setup.app.run('PRAGMA wal_checkpoint(TRUNCATE)');
});

function readlinkIfThere(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // it was that of the listing
  }
}

test('the last commits of a database that is removed are stored', async (t) => {
  const setup = await setUp(t);
  const harness = new CaptureHarness(t, setup.path, { settings: { syncIntervalMs: 60_000 } });
  await harness.capture.sync();
  await setup.app.run("INSERT INTO t(v) VALUES ('the last one')");
  const copy = `${setup.path}.copy`;
  await setup.app.run(`VACUUM INTO '${copy}'`);
  for (const suffix of ['', '-wal', '-shm']) rmSync(setup.path + suffix);
  await harness.until(() => harness.states.some(({ kind }) => kind === 'waiting'), 'it is missed');
  await harness.stop();
  assert.deepEqual(harness.kinds, ['image', 'increment']);
});

test('a database that takes another one’s place while that is opened is the one that is stored', async (t) => {
  const setup = await setUp(t);
  const next = await setUp(t);
  await next.app.run("INSERT INTO t(v) VALUES ('the one')");
  const copy = `${setup.path}.copy`;
  await next.app.run(`VACUUM INTO '${copy}'`);
  const { openSync: open } = fs;
  fs.openSync = (path, ...rest) => {
    if (path === `${setup.path}-wal` && existsSync(copy)) {
      for (const suffix of ['-wal', '-shm']) rmSync(setup.path + suffix);
      renameSync(copy, setup.path);
    }
    return open(path, ...rest);
  };
  syncBuiltinESMExports();
  t.after(() => {
    fs.openSync = open;
    syncBuiltinESMExports();
  });
  const harness = new CaptureHarness(t, setup.path);
  await harness.until(() => harness.files.length > 0, 'it is captured');
  assert.deepEqual(
    harness.states.map(({ kind }) => kind),
    ['waiting', 'attached'],
  );
  await harness.stop();
  assert.deepEqual(harness.kinds, ['image']);
  assert.deepEqual(harness.image.differences(readFileSync(setup.path)), []);
});
