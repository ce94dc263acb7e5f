import assert from 'node:assert/strict';
import fs, { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { describe, type TestContext, test } from 'node:test';
import { pause } from '../../src/base/async.ts';
import { SnapshotReader } from '../../src/capture/snapshot-reader.ts';
import { databaseChecksum } from '../restore/history.ts';
import { assertEqual, CaptureHarness, setUp } from '../support/capture.ts';
import { readLtx } from '../support/ltx.ts';
import { sqliteProcess } from '../support/sqlite-process.ts';

/** Reads as a slow disk does it; `onRead` is told before each run of pages. */
function slowDownReading(t: TestContext, ms: number, onRead = (_: SnapshotReader): void => undefined): void {
  const { readRun } = SnapshotReader.prototype;
  t.mock.method(
    SnapshotReader.prototype,
    'readRun',
    function (this: SnapshotReader, ...args: Parameters<typeof readRun>) {
      onRead(this);
      pause(ms);
      readRun.apply(this, args);
    },
  );
}

describe('what happens while all pages are read', () => {
  test('while all pages are read of a database that shrinks, nobody has to wait for that either', async (t) => {
    const setup = await setUp(t, 'PRAGMA auto_vacuum=FULL;');
    await setup.app.run('INSERT INTO t(v) VALUES (zeroblob(60000000)); PRAGMA wal_checkpoint(TRUNCATE)');
    slowDownReading(t, 20);
    const harness = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 100 }, storeFiles: false });
    await harness.until(() => harness.progress.length > 0, 'it is being read');
    await setup.app.run('DELETE FROM t WHERE id < 50');
    let isDone = false;
    for (let id = 50; harness.files.length === 0 && !isDone; id++) {
      await setup.app.run(`DELETE FROM t WHERE id = ${id}; INSERT INTO t(v) VALUES (randomblob(200))`);
      const [row] = await setup.app.run('PRAGMA wal_checkpoint(TRUNCATE)');
      isDone = row?.busy === 0 && harness.files.length === 0;
    }
    assert.ok(isDone, 'long before all was read');
    await harness.capture.sync();
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('nor does it wait for pages that are in the WAL, and beyond the end of the database', async (t) => {
    const setup = await setUp(t, 'PRAGMA auto_vacuum=FULL;');
    await setup.app.run('INSERT INTO t(v) VALUES (zeroblob(20000000)); PRAGMA wal_checkpoint(TRUNCATE)');
    await setup.app.run(
      'INSERT INTO t(v) VALUES (randomblob(3000000)); DELETE FROM t WHERE id = (SELECT max(id) FROM t)',
    );
    const unkept: number[] = [];
    slowDownReading(t, 0, (snapshot) => unkept.push(snapshot.unkeptBytes(snapshot.pageCount)));
    const harness = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 100 } });
    await harness.capture.sync();
    assert.ok((unkept[0] ?? 0) < 1_000_000, `${unkept[0]} bytes`);
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('a large WAL that is there at the start is brought into the database file first, and keeps nobody waiting', async (t) => {
    const setup = await setUp(t);
    await setup.app.run('INSERT INTO t(v) VALUES (randomblob(80000000))'); // all of it in the WAL
    const unkept: number[] = [];
    slowDownReading(t, 0, (snapshot) => unkept.push(snapshot.unkeptBytes(snapshot.pageCount)));
    const harness = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 1_000_000 } });
    await harness.capture.sync();
    assert.equal(unkept[0], 0);
    await harness.stop();
    await assertEqual(setup, harness);
  });

  test('what is kept while all pages are read leaves the application its disk', async (t) => {
    const setup = await setUp(t);
    const reader = await sqliteProcess(t, setup.path);
    await reader.run('BEGIN; SELECT count(*) FROM t');
    await setup.app.run('INSERT INTO t(v) VALUES (randomblob(60000000))'); // all of it in the WAL, and there it stays
    const freeBytes = 30_000_000;
    t.mock.method(fs, 'statfsSync', () => ({ bsize: 1, bavail: freeBytes }));
    syncBuiltinESMExports();
    t.after(() => {
      t.mock.restoreAll();
      syncBuiltinESMExports();
    });
    const kept: number[] = [];
    slowDownReading(t, 0, (snapshot) => kept.push(snapshot.keptBytes));
    const harness = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 100 } });
    await harness.capture.sync();
    const most = Math.max(...kept);
    assert.ok(most > 0 && most <= freeBytes / 2, `${most} bytes`);
    await reader.run('ROLLBACK');
    await harness.stop();
    await assertEqual(setup, harness);
  });

  for (const kind of ['image', 'diff']) {
    test(`while all pages are read for ${kind === 'image' ? 'an image' : 'a diff'}, nobody's checkpoint waits for that, and what is stored is the database as it was`, async (t) => {
      const setup = await setUp(t);
      await setup.app.run('INSERT INTO t(v) VALUES (zeroblob(60000000)); PRAGMA wal_checkpoint(TRUNCATE)');
      let harness: CaptureHarness | undefined;
      if (kind === 'diff') {
        harness = new CaptureHarness(t, setup.path);
        await harness.capture.sync();
        await harness.stop();
        await setup.app.run('UPDATE t SET v = randomblob(800) WHERE id < 40; PRAGMA wal_checkpoint(TRUNCATE)');
      }
      const before = readFileSync(setup.path);
      slowDownReading(t, 40);
      const second = new CaptureHarness(t, setup.path, {
        ...(harness && { after: harness }),
        settings: { minCheckpointPages: 100 },
        storeFiles: false,
      });
      await second.until(() => second.progress.length > 0, 'it is being read');
      let times = 0;
      while (second.files.length === 0) {
        await setup.app.run(`UPDATE t SET v = randomblob(${700 + times}) WHERE id BETWEEN ${times} AND ${times + 100};
          INSERT INTO t(v) VALUES (randomblob(3000)); UPDATE t SET v = randomblob(30000000) WHERE id = 201 AND ${times} = 1`);
        // One that meets a checkpoint of ours is refused at once.
        const [row] = await setup.app.run('PRAGMA wal_checkpoint(TRUNCATE)');
        if (row?.busy === 0 && second.files.length === 0) times++;
      }
      assert.ok(times >= 1, 'long before all was read');
      await second.capture.sync();
      await second.stop();
      assert.deepEqual(second.kinds.slice(0, 2), [kind, 'increment']);
      await assertEqual(setup, second);
      const first = readLtx(readFileSync(second.files[0]?.path ?? ''));
      if (kind === 'image') assert.equal(first.header.databaseChecksum, databaseChecksum(before, 4096));
      for (const { pgno, bytes } of first.pages) {
        assert.ok(Buffer.from(bytes).equals(before.subarray((pgno - 1) * 4096, pgno * 4096)), `page ${pgno}`);
      }
    });
  }
});
