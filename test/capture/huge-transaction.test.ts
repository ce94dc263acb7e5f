import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { DatabaseHandles } from '../../src/capture/connections.ts';
import { L0Writer } from '../../src/capture/l0-writer.ts';
import { SnapshotReader } from '../../src/capture/snapshot-reader.ts';
import { WalFollower } from '../../src/capture/wal-follower.ts';
import { WalReader } from '../../src/capture/wal-reader.ts';
import { assertEqual, CaptureHarness, setUp } from '../support/capture.ts';
import { sqliteProcess } from '../support/sqlite-process.ts';

const MIB = 1024 * 1024;
/** Of each, in one go: a slice, and what is on its way beside it. */
const MOST_BYTES = 12 * MIB;
const NO_CHECKPOINTS = { minCheckpointPages: 1_000_000, checkpointIntervalMs: Number.POSITIVE_INFINITY };

/** Bytes read from the WAL, and put into files, at most without a turn for others of the thread. */
function watchTurns(t: TestContext): { readonly read: number; readonly added: number } {
  const inOneGo = { read: 0, added: 0 };
  const most = { read: 0, added: 0 };
  const { read } = WalReader.prototype;
  t.mock.method(WalReader.prototype, 'read', function (this: WalReader, ...args: Parameters<typeof read>) {
    const next = read.apply(this, args);
    inOneGo.read += this.count * 4096;
    most.read = Math.max(most.read, inOneGo.read);
    return next;
  });
  const { add } = L0Writer.prototype;
  t.mock.method(L0Writer.prototype, 'add', function (this: L0Writer, count: number) {
    inOneGo.added += count * 4096;
    most.added = Math.max(most.added, inOneGo.added);
    add.call(this, count);
  });
  let isOver = false;
  const turn = (): void => {
    inOneGo.read = 0;
    inOneGo.added = 0;
    if (!isOver) setImmediate(turn);
  };
  turn();
  t.after(() => {
    isOver = true;
  });
  return most;
}

test('a huge transaction is copied and stored in slices, and its checkpoint made elsewhere: other databases of the thread get their turns', async (t) => {
  const setup = await setUp(t);
  const harness = new CaptureHarness(t, setup.path);
  await harness.capture.sync();

  const most = watchTurns(t);
  const elsewhere = t.mock.method(DatabaseHandles.prototype, 'checkpointElsewhere');
  await setup.app.run('INSERT INTO t(v) VALUES (randomblob(90000000)), (randomblob(90000000))');
  await harness.capture.sync();
  assert.ok(most.read > 0 && most.read <= MOST_BYTES, `${most.read} bytes read`);
  assert.ok(most.added > 0 && most.added <= MOST_BYTES, `${most.added} bytes added`);
  assert.ok(elsewhere.mock.callCount() > 0);
  assert.deepEqual(harness.kinds, ['image', 'increment']);
  await harness.stop();
  await assertEqual(setup, harness);
});

test('so it is while all pages are read: with the WAL that was there, its checkpoint, and what is committed meanwhile', async (t) => {
  const setup = await setUp(t);
  const application = new DatabaseSync(setup.path);
  t.after(() => application.close());
  const blobs = (count: number): string => Array.from({ length: count }, () => '(randomblob(20000000))').join();
  application.exec(`PRAGMA wal_autocheckpoint=0; INSERT INTO t(v) VALUES ${blobs(5)}`);
  const most = watchTurns(t);
  const elsewhere = t.mock.method(DatabaseHandles.prototype, 'checkpointElsewhere');
  const { readRun } = SnapshotReader.prototype;
  let runs = 0;
  t.mock.method(
    SnapshotReader.prototype,
    'readRun',
    function (this: SnapshotReader, ...args: Parameters<typeof readRun>) {
      if (runs++ === 0) application.exec(`INSERT INTO t(v) VALUES ${blobs(2)}`);
      readRun.apply(this, args);
    },
  );
  const harness = new CaptureHarness(t, setup.path);
  await harness.capture.sync();
  assert.ok(runs > 1);
  assert.ok(most.read > 0 && most.read <= MOST_BYTES, `${most.read} bytes read`);
  // The last pages that are read, and a slice of what came meanwhile.
  assert.ok(most.added > 0 && most.added <= 2 * MOST_BYTES, `${most.added} bytes added`);
  assert.ok(elsewhere.mock.callCount() > 0);
  await harness.stop();
  await assertEqual(setup, harness);
});

test('a start that goes on where the last run stopped looks through a large WAL in slices', async (t) => {
  const setup = await setUp(t);
  const first = new CaptureHarness(t, setup.path, { settings: NO_CHECKPOINTS });
  await first.capture.sync();
  const reader = await sqliteProcess(t, setup.path);
  await reader.run('BEGIN; SELECT count(*) FROM t'); // nothing after this gets into the database file
  await setup.app.run('INSERT INTO t(v) VALUES (randomblob(20000000)), (randomblob(20000000))');
  await first.capture.sync();
  await first.stop();
  const most = watchTurns(t);
  const second = new CaptureHarness(t, setup.path, { settings: NO_CHECKPOINTS, after: first });
  await second.capture.sync();
  assert.ok(second.messages.includes('continuing where the last run stopped'), second.messages.join());
  // The last frames of one walk, and a slice of the next.
  assert.ok(most.read > 0 && most.read <= 2 * MOST_BYTES, `${most.read} bytes read`);
  await second.stop();
});

test('what is committed while a handover makes its checkpoint is copied in slices as well', async (t) => {
  const setup = await setUp(t);
  const harness = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 100 } });
  await harness.capture.sync();
  const application = new DatabaseSync(setup.path);
  t.after(() => application.close());
  const most = watchTurns(t);
  const { checkpoint } = DatabaseHandles.prototype;
  let isDue = true;
  t.mock.method(
    DatabaseHandles.prototype,
    'checkpoint',
    function (this: DatabaseHandles, ...args: Parameters<typeof checkpoint>) {
      if (isDue) application.exec('INSERT INTO t(v) VALUES (randomblob(20000000)), (randomblob(20000000))');
      isDue = false;
      return checkpoint.apply(this, args);
    },
  );
  await setup.app.run('INSERT INTO t(v) VALUES (randomblob(1000000))');
  await harness.until(() => !isDue, 'a checkpoint is made');
  await harness.capture.sync();
  assert.ok(most.read > 0 && most.read <= MOST_BYTES, `${most.read} bytes read`);
  await harness.stop();
  await assertEqual(setup, harness);
});

test('what a stop captures in slices is stored, although the database is moved away meanwhile', async (t) => {
  const setup = await setUp(t);
  const harness = new CaptureHarness(t, setup.path);
  await harness.capture.sync();
  await nextTurn(); // a checkpoint that is due is made after that
  const application = new DatabaseSync(setup.path);
  t.after(() => application.close());
  application.exec('PRAGMA wal_autocheckpoint=0');
  const { captureSome } = WalFollower.prototype;
  let slices = 0;
  t.mock.method(
    WalFollower.prototype,
    'captureSome',
    function (this: WalFollower, ...args: Parameters<typeof captureSome>) {
      const what = captureSome.apply(this, args);
      if (slices++ === 0) {
        this.rest(); // as after half a minute without commits
        for (const end of ['', '-wal', '-shm']) renameSync(`${setup.path}${end}`, `${setup.path}.gone${end}`);
      }
      return what;
    },
  );
  for (let i = 0; i < 5; i++) application.exec('UPDATE t SET v = randomblob(15000)');
  harness.capture.stop();
  await harness.done;
  assert.ok(slices > 0);
  assert.deepEqual(harness.kinds, ['image', 'increment']);
});
