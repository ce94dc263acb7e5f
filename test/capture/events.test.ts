import assert from 'node:assert/strict';
import fs, { type FSWatcher } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { WalIndexReader } from '../../src/capture/wal-index-reader.ts';
import { CaptureHarness, type Setup, setUp } from '../support/capture.ts';

/** Longer than a test takes: whatever comes meanwhile was not told by this. */
const NEVER_MS = 3_600_000;
const SOON_MS = 50;
/** Without commits for this long, only events are waited for. */
const REST_MS = 40_000;
/** In this time a capture has noticed how late it is. */
const SETTLE_MS = 4000;

const real = fs.watch;

/** Has `fs.watch` be another one until the test ends. */
function replaceWatch(t: TestContext, watch: (...args: unknown[]) => unknown): void {
  fs.watch = watch as typeof fs.watch; // the capture uses no more of it
  syncBuiltinESMExports();
  t.after(() => {
    fs.watch = real;
    syncBuiltinESMExports();
  });
}

/** A clock that can be put forward. */
function clockOf(t: TestContext): { skip(ms: number): void } {
  const now = performance.now.bind(performance);
  let skippedMs = 0;
  t.mock.method(performance, 'now', () => now() + skippedMs);
  return { skip: (ms) => (skippedMs += ms) };
}

/** A database that has been quiet for so long that its capture rests. */
async function atRest(
  t: TestContext,
  monitorIntervalMs: number,
): Promise<Setup & { readonly harness: CaptureHarness }> {
  const clock = clockOf(t);
  const setup = await setUp(t);
  const harness = new CaptureHarness(t, setup.path, { settings: { monitorIntervalMs } });
  await harness.capture.sync();
  await delay(SETTLE_MS);
  clock.skip(REST_MS);
  await delay(SETTLE_MS);
  return { ...setup, harness };
}

async function expectCommit({ app, harness }: Setup & { readonly harness: CaptureHarness }): Promise<void> {
  const before = harness.files.length;
  await app.run("INSERT INTO t(v) VALUES ('after the rest')");
  await harness.until(() => harness.files.length > before, 'the commit is captured');
}

test('where events never come, a commit is found within a monitor-interval', async (t) => {
  replaceWatch(t, () => ({ close: () => undefined, on: () => undefined }));
  await expectCommit(await atRest(t, SOON_MS));
});

test('an event alone tells of a commit', async (t) => {
  const watched = await atRest(t, NEVER_MS);
  await expectCommit(watched);
  await expectCommit(watched);
});

test('where the system has no watches left, a commit is found within a monitor-interval, and that is said once', async (t) => {
  const watched = await atRest(t, SOON_MS);
  let refusals = 0;
  replaceWatch(t, (): FSWatcher => {
    refusals++;
    throw Object.assign(new Error('ENOSPC: System limit for number of file watchers reached'), { code: 'ENOSPC' });
  });
  await watched.harness.capture.sync(); // ends the wait for events
  await watched.harness.until(() => refusals > 10, 'it looks without events');
  await expectCommit(watched);
  const said = watched.harness.messages.filter((message) => message.includes('no more file watches'));
  assert.equal(said.length, 1);
});

for (const { name, syncIntervalMs } of [
  { name: 'a quiet database', syncIntervalMs: SOON_MS },
  { name: 'a quiet database whose last commits are to be stored much later', syncIntervalMs: NEVER_MS },
]) {
  test(`${name} is left alone`, async (t) => {
    const clock = clockOf(t);
    const setup = await setUp(t);
    const harness = new CaptureHarness(t, setup.path, { settings: { monitorIntervalMs: NEVER_MS, syncIntervalMs } });
    await harness.capture.sync();
    await setup.app.run("INSERT INTO t(v) VALUES ('the last one')");
    await delay(SETTLE_MS);
    clock.skip(REST_MS);
    await delay(SETTLE_MS);
    const looks = t.mock.method(WalIndexReader.prototype, 'read');
    const glances = t.mock.method(WalIndexReader.prototype, 'glance');
    await delay(SETTLE_MS);
    assert.deepEqual([looks.mock.callCount(), glances.mock.callCount()], [0, 0]);
    assert.equal(harness.files.length, syncIntervalMs === NEVER_MS ? 1 : 2);
    await harness.capture.sync();
    assert.equal(harness.files.length, 2);
  });
}
