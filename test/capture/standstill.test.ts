import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CaptureHarness, setUp } from '../support/capture.ts';
import { DatabaseLocks, LOCK_TABLE } from '../support/locks.ts';
import { skipWithout } from '../support/tools.ts';

/** As long as any capture under way takes to do what it was woken for: time itself stands still. */
const TURNS = 50;

async function pass(t: TestContext, ms: number): Promise<void> {
  t.mock.timers.tick(ms);
  for (let i = 0; i < TURNS; i++) await nextTurn();
}

test('a checkpoint that waits for our read transaction, and so lets nobody commit, is noticed without any event', {
  skip: skipWithout(LOCK_TABLE),
}, async (t) => {
  const setup = await setUp(t);
  await setup.app.run('PRAGMA busy_timeout=0');
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const harness = new CaptureHarness(t, setup.path, { settings: { syncIntervalMs: 60_000, minCheckpointPages: 1e6 } });
  while (harness.handovers === 0) await pass(t, 10);

  await setup.app.run("INSERT INTO t(v) VALUES ('first')");
  const ours = new DatabaseLocks(process.pid, setup.path);
  while (ours.reads.includes(0)) await pass(t, 10);
  await setup.app.run("INSERT INTO t(v) VALUES ('second')");
  await pass(t, 40);
  await pass(t, 40);
  const [row] = await setup.app.run('PRAGMA wal_checkpoint(FULL)');
  assert.equal(row?.busy, 0);
  assert.equal(harness.handovers, 1, 'none was needed');
});
