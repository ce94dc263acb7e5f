import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { CaptureGauges } from '../../src/capture/gauges.ts';
import { WalFollower } from '../../src/capture/wal-follower.ts';
import { isBusy } from '../../src/sqlite/sqlite-error.ts';
import { tempFolder } from '../support/temp.ts';

test('a WAL that fills faster than it is copied is handed over once it is urgent, and not before', (t) => {
  const folder = tempFolder(t);
  const path = join(folder, 'app.db');
  const app = new DatabaseSync(path);
  app.exec('PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(v); INSERT INTO t VALUES (1)');
  // Whenever something is copied, more than the barrier lets through comes in meanwhile.
  let refusals = 0;
  const commit = (): void => {
    try {
      app.exec('INSERT INTO t VALUES (randomblob(2000000))');
    } catch (error) {
      if (!isBusy(error)) throw error;
      refusals++;
    }
  };
  const gauges = new CaptureGauges();
  const settings = {
    pageSize: 4096,
    scratchFolder: folder,
    busyTimeoutMs: 1000,
    maxPendingBytes: 1,
    urgentFrames: Number.POSITIVE_INFINITY,
  };
  const cut = (): void => {
    follower.markStored();
    commit();
  };
  const follower = new WalFollower(path, settings, { cut }, gauges);
  try {
    using wal = follower.openWal();
    follower.standAt(follower.beginExactly(), wal)[Symbol.dispose]();
    commit();
    assert.equal(follower.handOver(), 'busy');
    assert.equal(refusals, 0, 'writers were let go on at once');
    settings.urgentFrames = 1000;
    assert.equal(follower.handOver(), 'done');
    assert.equal(refusals, 1, 'while the rest was copied, nobody could commit');
    const head = follower.head();
    assert.ok(follower.isCaught(head));
    assert.equal(head.backfilled, head.mxFrame);
    assert.equal(gauges.get('barriers'), 2);
  } finally {
    app.close();
    follower[Symbol.dispose]();
  }
});
