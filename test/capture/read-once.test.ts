import assert from 'node:assert/strict';
import fs, { existsSync, readlinkSync, statSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { type TestContext, test } from 'node:test';
import { PENDING_BYTES } from '../../src/capture/pending-pages.ts';
import { frameOffset, frameSize, WAL_HEADER_SIZE } from '../../src/sqlite/wal.ts';
import { assertEqual, CaptureHarness, setUp } from '../support/capture.ts';

const PAGE_SIZE = 4096;
const COMMITS = 300;
const NO_PROC = !existsSync('/proc/self/fd') && 'needs /proc';

interface Read {
  readonly position: number;
  readonly bytes: number;
}

/** What this process reads of a file from now on. SQLite's own reads are not among it: it has its own way to files. */
function readsOf(t: TestContext, path: string): Read[] {
  const reads: Read[] = [];
  const { readSync } = fs;
  fs.readSync = ((fd: number, target: Uint8Array, offset: number, length: number, position: number) => {
    const bytes = readSync(fd, target, offset, length, position);
    if (readlinkSync(`/proc/self/fd/${fd}`) === path) reads.push({ position, bytes });
    return bytes;
  }) as typeof fs.readSync; // the sources use no other form of it
  syncBuiltinESMExports();
  t.after(() => {
    fs.readSync = readSync;
    syncBuiltinESMExports();
  });
  return reads;
}

test('commits that come one after the other are read from the WAL once, byte for byte', {
  skip: NO_PROC,
}, async (t) => {
  const setup = await setUp(t, `PRAGMA page_size=${PAGE_SIZE};`);
  // Handed over soon: what comes then has the places of other frames.
  const harness = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 50, syncIntervalMs: 20 } });
  await harness.capture.sync();
  const reads = readsOf(t, `${setup.path}-wal`);
  const handovers = harness.handovers;
  // A value that is as long as the one before: its page changes, and no other. So each commit is one frame.
  const commit = async (): Promise<void> => {
    for (let i = 0; i < COMMITS / 2; i++) {
      await setup.app.run(`UPDATE t SET v = randomblob(500) WHERE id = ${1 + i}`);
      if (i % 40 === 0) await harness.capture.sync();
    }
    await harness.capture.sync();
  };
  await commit();
  await harness.until(() => harness.handovers > handovers, 'the WAL is handed over');
  await commit();
  await harness.stop();
  assert.ok(!harness.kinds.includes('diff'));

  const frames = reads.filter(({ position }) => position >= WAL_HEADER_SIZE);
  const headers = reads.filter(({ position }) => position < WAL_HEADER_SIZE);
  const bytes = frames.reduce((sum, read) => sum + read.bytes, 0);
  assert.equal(bytes, COMMITS * frameSize(PAGE_SIZE));
  for (const { position } of frames) assert.equal((position - frameOffset(0, PAGE_SIZE)) % frameSize(PAGE_SIZE), 0);
  assert.ok(headers.every((read) => read.position === 0 && read.bytes === WAL_HEADER_SIZE));
  assert.ok(headers.length <= frames.length, 'no header without frames');
  await assertEqual(setup, harness);
});

test('of a transaction that is too large for the memory, only what had no room there is read a second time', {
  skip: NO_PROC,
}, async (t) => {
  const setup = await setUp(t, `PRAGMA page_size=${PAGE_SIZE};`);
  const harness = new CaptureHarness(t, setup.path, { settings: { minCheckpointPages: 1_000_000 } });
  await harness.capture.sync();
  const wal = `${setup.path}-wal`;
  const reads = readsOf(t, wal);
  await setup.app.run(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 4000)
    INSERT INTO t(v) SELECT randomblob(3000) FROM c`);
  const written = statSync(wal).size; // or a little less, where the WAL did not begin anew
  await harness.capture.sync();
  const bytes = reads.reduce((sum, read) => sum + (read.position < WAL_HEADER_SIZE ? 0 : read.bytes), 0);
  assert.ok(written > 1.5 * PENDING_BYTES);
  assert.ok(bytes > written, 'some had no room');
  assert.ok(bytes <= written + (written - PENDING_BYTES), `${bytes} bytes of ${written}`);
  await harness.stop();
  await assertEqual(setup, harness);
});
