import assert from 'node:assert/strict';
import fs, { existsSync, readlinkSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { type TestContext, test } from 'node:test';
import { Connection } from '../../src/capture/connections.ts';
import { HandoverSchedule } from '../../src/capture/handover-schedule.ts';
import { FollowerSetup } from '../support/follower.ts';
import { TestProcess } from '../support/processes.ts';
import { skipWithout } from '../support/tools.ts';
import { PYTHON3 } from '../support/writers.ts';

test('a WAL that fills faster than it is copied is handed over once it is urgent, and not before', async (t) => {
  // Whenever something is copied, more than the barrier lets through comes in meanwhile.
  const setup = await FollowerSetup.begin(t, { maxPendingBytes: 1, cut: () => setup.commit(2_000_000) });
  const { follower, gauges, settings } = setup;
  setup.commit(2_000_000);
  assert.equal(follower.handOver(), 'busy');
  assert.equal(setup.refusals, 0, 'writers were let go on at once');
  settings.urgentFrames = 1000;
  assert.equal(follower.handOver(), 'done');
  assert.equal(setup.refusals, 1, 'while the rest was copied, nobody could commit');
  const head = follower.head();
  assert.ok(follower.isCaught(head));
  assert.equal(head.backfilled, head.mxFrame);
  assert.equal(gauges.get('barriers'), 1 + 5, 'the others were let down at once, to copy beside writers');
});

test('at rest the read is held when all else is closed: no commit that was not seen gets past it', async (t) => {
  const { follower, app } = await FollowerSetup.begin(t, { maxPendingBytes: 0 });
  app.exec('INSERT INTO t VALUES (2)');
  assert.equal(follower.handOver(), 'done');
  follower.rest();
  const isRestarted = (): boolean => app.prepare('PRAGMA wal_checkpoint(RESTART)').get()?.busy === 0;
  assert.ok(isRestarted(), 'there is nothing in it that was not seen');
  const before = follower.framesTaken;
  for (let i = 0; i < 3; i++) {
    app.exec('INSERT INTO t VALUES (3)');
    assert.equal(isRestarted(), false, 'the WAL keeps what is in it');
  }
  follower.move();
  assert.equal(follower.framesTaken - before, 3);
});

test('nobody has to wait for a file that is made because memory is used up', async (t) => {
  let cuts = 0;
  const setup = await FollowerSetup.begin(t, {
    maxPendingBytes: 0,
    cut: () => {
      cuts++;
      setup.commit(1000);
    },
  });
  const { follower } = setup;
  // A commit beside every checkpoint, so that the barrier is needed.
  const { checkpoint } = Connection.prototype;
  t.mock.method(Connection.prototype, 'checkpoint', function (this: Connection, mode: 'PASSIVE') {
    const result = checkpoint.call(this, mode);
    if (setup.refusals === 0 && !setup.isHeldUp) setup.commit(1000);
    return result;
  });
  setup.commit(6_000_000);
  assert.equal(follower.handOver(), 'done');
  assert.equal(cuts, 0, 'there is room for what may come in');
  setup.commit(1_900_000);
  assert.equal(follower.handOver(), 'done');
  assert.equal(cuts, 1);
  assert.equal(setup.refusals, 0, 'it was made beside writers');
});

/** What SQLite holds while a checkpoint is under way. */
const HOLD_CHECKPOINT_LOCK = `
import fcntl, sys, time
shm = open(sys.argv[1] + '-shm', 'r+b')
fcntl.lockf(shm, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 121)
print('held', flush=True)
time.sleep(120)
`;

test("while somebody else's checkpoint has much to do, nobody is held up, unless it is urgent", {
  skip: skipWithout(PYTHON3),
}, async (t) => {
  const setup = await FollowerSetup.begin(t, { maxPendingBytes: 0 });
  const { follower, gauges, settings } = setup;
  setup.commit(3_900_000);
  const checkpoint = new TestProcess(t, PYTHON3.path ?? '', ['-c', HOLD_CHECKPOINT_LOCK, setup.path]);
  await checkpoint.says(/held/);
  assert.equal(follower.handOver(), 'busy');
  assert.equal(gauges.get('barriers'), 1, 'so little is worth a try');
  setup.commit(500_000);
  assert.equal(follower.handOver(), 'met');
  assert.equal(gauges.get('barriers'), 1);
  assert.ok(follower.isCaught(follower.head()), 'what there is was copied all the same');
  settings.urgentFrames = 1000;
  assert.equal(follower.handOver(), 'busy');
  assert.equal(gauges.get('barriers'), 2);
  await checkpoint.end('SIGKILL');
  assert.equal(follower.handOver(), 'done');
});

const NO_PROC = !existsSync('/proc/self/fd') && 'needs /proc';

/** The names of the files that are synced from now on, by fdatasync. `isFull`: of a disk that does not take it. */
function syncsOf(t: TestContext, isFull = (): boolean => false): string[] {
  const names: string[] = [];
  const { fdatasyncSync } = fs;
  fs.fdatasyncSync = (fd) => {
    names.push(readlinkSync(`/proc/self/fd/${fd}`));
    if (isFull()) throw Object.assign(new Error('ENOSPC: no space left on device, fdatasync'), { code: 'ENOSPC' });
    fdatasyncSync(fd);
  };
  syncBuiltinESMExports();
  t.after(() => {
    fs.fdatasyncSync = fdatasyncSync;
    syncBuiltinESMExports();
  });
  return names;
}

test('the WAL is synced before a move sets much of it free for the checkpoint of whoever commits next', {
  skip: NO_PROC,
}, async (t) => {
  const setup = await FollowerSetup.begin(t, { maxPendingBytes: 0 });
  const { follower, settings } = setup;
  const syncs = syncsOf(t);
  const syncsOfMove = (bytes: number): string[] => {
    setup.commit(bytes);
    follower.move();
    return syncs.splice(0);
  };
  const wal = `${setup.path}-wal`;
  assert.deepEqual(syncsOfMove(1_000_000), []);
  assert.deepEqual(syncsOfMove(9_000_000), [wal]);
  assert.deepEqual(syncsOfMove(1_000_000), [], 'most of it is synced');
  assert.deepEqual(syncsOfMove(8_000_000), [wal]);
  assert.equal(follower.handOver(), 'done');
  syncs.length = 0;
  assert.deepEqual(syncsOfMove(7_000_000), [], 'the WAL began anew');
  assert.deepEqual(syncsOfMove(7_000_000), [wal]);
  settings.urgentFrames = 1000;
  assert.deepEqual(syncsOfMove(9_000_000), [], 'no time for it');
});

test('a disk that does not take a sync ends no capture: the handover is tried again, and holds nobody up', {
  skip: NO_PROC,
}, async (t) => {
  const setup = await FollowerSetup.begin(t, { maxPendingBytes: 1, cut: () => setup.commit(10_000) });
  const { follower, gauges } = setup;
  let isFull = true;
  const syncs = syncsOf(t, () => isFull);
  setup.commit(9_000_000);
  assert.equal(follower.handOver(), 'busy');
  assert.deepEqual(syncs.splice(0), [`${setup.path}-wal`, setup.path]);
  assert.match(follower.checkpointFailure ?? '', /ENOSPC/);
  assert.equal(gauges.get('barriers'), 0);
  isFull = false;
  assert.equal(follower.handOver(), 'done');
  assert.deepEqual(syncs, [`${setup.path}-wal`, setup.path]);
  assert.equal(follower.checkpointFailure, undefined);
});

test('a sync that failed is no failure any more once the WAL began anew', { skip: NO_PROC }, async (t) => {
  const setup = await FollowerSetup.begin(t, { maxPendingBytes: 0 });
  const { follower } = setup;
  let isFull = true;
  syncsOf(t, () => isFull);
  setup.commit(9_000_000);
  follower.move();
  assert.match(follower.checkpointFailure ?? '', /ENOSPC/);
  isFull = false;
  assert.equal(follower.handOver(), 'done');
  setup.commit(10_000);
  follower.move();
  assert.equal(follower.checkpointFailure, undefined);
});

test('every frame is read once, whatever moves and handovers there are', async (t) => {
  const setup = await FollowerSetup.begin(t, { maxPendingBytes: 0 });
  const { follower } = setup;
  follower.handOver();
  const before = follower.framesTaken;
  let written = 0;
  for (let generation = 0; generation < 5; generation++) {
    for (let i = 0; i < 4; i++) {
      setup.commit(20_000);
      if (i % 2 === 0) follower.move();
      follower.capture();
      follower.capture();
    }
    written += follower.head().mxFrame;
    assert.equal(follower.handOver(), 'done');
  }
  assert.ok(written > 100);
  assert.equal(follower.framesTaken - before, written);
});

test('after a handover that met another checkpoint there is a pause', (t) => {
  let nowMs = 1000;
  t.mock.method(performance, 'now', () => nowMs);
  const schedule = new HandoverSchedule({ minCheckpointPages: 1000, truncatePages: 121_359, checkpointIntervalMs: 0 });
  schedule.note(5000);
  assert.ok(schedule.isDue(5000));
  for (let i = 0; i < 10; i++) {
    schedule.tried('met');
    assert.ok(!schedule.isDue(5000));
    assert.equal(schedule.msUntilDue(5000), 20, 'it does not grow');
    nowMs += 20;
    assert.ok(schedule.isDue(5000));
  }
});

test('a WAL is urgent at some size, whatever the limits are', () => {
  const urgent = (truncatePages: number, minCheckpointPages = 1000): number =>
    new HandoverSchedule({ minCheckpointPages, truncatePages, checkpointIntervalMs: 0 }).pagesUrgent;
  assert.equal(urgent(20_000), 4000);
  for (const unlimited of [0, -1, Number.POSITIVE_INFINITY]) assert.equal(urgent(unlimited), 24_272);
  assert.equal(urgent(121_359, 40_000), 45_000, 'not before it is due');
});
