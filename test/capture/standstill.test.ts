import assert from 'node:assert/strict';
import { utimesSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CaptureHarness, type Setup, setUp } from '../support/capture.ts';
import { DatabaseLocks, LOCK_TABLE } from '../support/locks.ts';
import { skipWithout } from '../support/tools.ts';

/** As long as any capture under way takes to do what it was woken for: time itself stands still. */
const TURNS = 50;

let nowMs = 0;

/** Between two glances: usually, and once somebody was seen to make checkpoints of their own. */
const GLANCE_MS = 200;
const WATCHFUL_GLANCE_MS = 50;

async function pass(t: TestContext, ms: number): Promise<void> {
  nowMs += ms;
  t.mock.timers.tick(ms);
  for (let i = 0; i < TURNS; i++) await nextTurn();
}

/** Time stands still; the reader stands behind a commit, on another lock than read-lock 0. Before, commits came fast. */
async function standBehind(t: TestContext): Promise<{ readonly setup: Setup; readonly harness: CaptureHarness }> {
  const setup = await setUp(t);
  await setup.app.run('PRAGMA busy_timeout=0');
  nowMs = performance.now();
  t.mock.method(performance, 'now', () => nowMs);
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: Date.now() });
  const harness = new CaptureHarness(t, setup.path, {
    settings: { syncIntervalMs: 60_000, monitorIntervalMs: 60_000, minCheckpointPages: 1e6 },
  });
  while (harness.handovers === 0) await pass(t, 10);

  await setup.app.run("INSERT INTO t(v) VALUES ('first')");
  const ours = new DatabaseLocks(process.pid, setup.path);
  while (ours.reads.includes(0)) await pass(t, 10);
  for (let glance = 0; glance < 3; glance++) {
    for (let i = 0; i < 10; i++) await setup.app.run("INSERT INTO t(v) VALUES ('one of many')");
    await pass(t, GLANCE_MS);
  }
  await setup.app.run("INSERT INTO t(v) VALUES ('last')");
  return { setup, harness };
}

describe('a checkpoint that waits for our read transaction, and so lets nobody commit', {
  skip: skipWithout(LOCK_TABLE),
}, () => {
  test('is noticed without any event', async (t) => {
    const { setup, harness } = await standBehind(t);
    const farAhead = new Date('2200-01-01');
    utimesSync(`${setup.path}-wal`, farAhead, farAhead);
    await pass(t, GLANCE_MS);
    await pass(t, GLANCE_MS);
    const [row] = await setup.app.run('PRAGMA wal_checkpoint(FULL)');
    assert.equal(row?.busy, 0);
    assert.equal(harness.handovers, 1, 'none was needed');
  });

  test('is noticed at first glance, where the WAL was not written to for a while', async (t) => {
    const { setup, harness } = await standBehind(t);
    const longAgo = new Date('2020-01-01');
    utimesSync(`${setup.path}-wal`, longAgo, longAgo);
    await pass(t, GLANCE_MS);
    const [row] = await setup.app.run('PRAGMA wal_checkpoint(FULL)');
    assert.equal(row?.busy, 0);
    assert.equal(harness.handovers, 1, 'none was needed');
  });

  test('is noticed sooner beside an application that did so before', async (t) => {
    const { setup } = await standBehind(t);
    const wal = `${setup.path}-wal`;
    const longAgo = new Date('2020-01-01');
    const checkpoint = async (): Promise<unknown> => (await setup.app.run('PRAGMA wal_checkpoint(FULL)'))[0]?.busy;
    const commit = async (): Promise<void> => {
      for (let i = 0; i < 10; i++) await setup.app.run("INSERT INTO t(v) VALUES ('one of many')");
    };
    const ours = new DatabaseLocks(process.pid, setup.path);

    utimesSync(wal, longAgo, longAgo);
    await pass(t, WATCHFUL_GLANCE_MS);
    assert.equal(await checkpoint(), 1, 'not noticed yet');
    await pass(t, GLANCE_MS);
    assert.equal(await checkpoint(), 0);
    // The glances after it become rarer, one by one.
    for (const ms of [5, 10, 20, 40, WATCHFUL_GLANCE_MS]) await pass(t, ms);
    await commit();
    while (ours.reads.includes(0)) await pass(t, 10);
    for (let glance = 0; glance < 4; glance++) {
      await commit();
      await pass(t, WATCHFUL_GLANCE_MS);
    }
    await setup.app.run("INSERT INTO t(v) VALUES ('the last again')");
    utimesSync(wal, longAgo, longAgo);
    assert.equal(await checkpoint(), 1);
    await pass(t, WATCHFUL_GLANCE_MS);
    assert.equal(await checkpoint(), 0);
  });
});
