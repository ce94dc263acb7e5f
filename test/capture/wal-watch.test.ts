import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { LogFields, Logger } from '../../src/base/log.ts';
import { CaptureGauges } from '../../src/capture/gauges.ts';
import { WalWatch } from '../../src/capture/wal-watch.ts';

const PAGES_DUE = 1000;

/** A watch over a WAL whose size and clock are set by hand. */
function setUp(t: TestContext) {
  const said: string[] = [];
  const gauges = new CaptureGauges();
  const log: Logger = {
    log: (level: string, message: string, fields?: LogFields) => void said.push(`${level} ${message} ${fields?.ms}`),
    with: () => log,
  };
  const clock = { ms: 5 };
  t.mock.method(performance, 'now', () => clock.ms);
  const follower = {
    head: () => ({ mxFrame: follower.mxFrame ?? follower.cursor.frames, backfilled: 0, salts: follower.salts }),
    salts: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0),
    mxFrame: undefined as number | undefined,
    cursor: { frames: 0, salts: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0) },
    pageSize: 4096,
    walFileBytes: 0,
    databaseBytes: 0,
    checkpointFailure: undefined as string | undefined,
  };
  const watch = new WalWatch(log, gauges, PAGES_DUE);
  const tried = (outcome: 'done' | 'blocked' | 'busy' | 'met', frames: number, atMs: number): string[] => {
    clock.ms = atMs;
    follower.cursor.frames = frames;
    watch.tried(outcome, follower as unknown as Parameters<WalWatch['tried']>[1]); // what it reads of one
    return said.splice(0);
  };
  const look = (): string[] => {
    watch.look(follower as unknown as Parameters<WalWatch['look']>[0]);
    return said.splice(0);
  };
  const compared = (frames: number, stoodStill = true): string[] => {
    const salts = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
    watch.compared(
      follower as unknown as Parameters<WalWatch['look']>[0],
      { frames, salts, sums: undefined },
      stoodStill,
    );
    return said.splice(0);
  };
  return { tried, look, compared, follower, gauges };
}

const READER = 'warn a reader of the application keeps the WAL from being checkpointed: it grows';
const STUCK = 'warn no checkpoint of the WAL comes through: it grows';
const OVER = 'info the WAL is checkpointed again';

test('a reader in the way is told of once the WAL is large, and that it is gone', (t) => {
  const { tried, gauges } = setUp(t);
  assert.deepEqual(tried('blocked', 9_999, 1000), []);
  assert.deepEqual(tried('blocked', 10_000, 1500), [`${READER} 500`]);
  assert.deepEqual(tried('blocked', 20_000, 2000), []);
  assert.deepEqual(tried('done', 20_000, 4000), [`${OVER} 3000`]);
  assert.deepEqual(tried('blocked', 30_000, 5000), [`${READER} 0`]);
  assert.deepEqual([gauges.get('handoversBlocked'), gauges.get('handoversDone')], [4, 1]);
});

for (const outcome of ['met', 'busy'] as const) {
  test(`a large WAL is told of when every handover is "${outcome}" for seconds, whoever hangs`, (t) => {
    const { tried, gauges } = setUp(t);
    assert.deepEqual(tried(outcome, 50_000, 1000), []);
    assert.deepEqual(tried(outcome, 50_000, 10_999), []);
    assert.deepEqual(tried(outcome, 9000, 11_000), [], 'it is small');
    assert.deepEqual(tried(outcome, 50_000, 12_000), [`${STUCK} 11000`]);
    assert.deepEqual(tried(outcome, 60_000, 90_000), []);
    assert.deepEqual(tried('done', 0, 100_000), [`${OVER} 99000`]);
    assert.deepEqual(tried(outcome, 60_000, 109_000), [], 'anew');
    assert.equal(gauges.get('handoversBusy'), 6);
  });
}

test('a WAL that somebody else has let begin anew is a new one', (t) => {
  const { tried, look, follower } = setUp(t);
  assert.deepEqual(tried('busy', 500, 1000), []);
  assert.deepEqual(look(), []);
  follower.salts = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0);
  assert.deepEqual(look(), []);
  assert.deepEqual(tried('busy', 12_000, 3_600_000), [], 'it did not hang for an hour');
  assert.deepEqual(tried('busy', 50_000, 3_620_000), [`${STUCK} 20000`]);
  assert.deepEqual(look(), []);
  follower.salts = Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0);
  assert.deepEqual(look(), [`${OVER} 20000`]);
  assert.deepEqual(look(), []);
});

test('what the WAL grew by while all pages were read is right although it began anew meanwhile', (t) => {
  const { compared, follower, gauges } = setUp(t);
  follower.cursor.frames = 14_000;
  follower.mxFrame = 14_500;
  compared(14_000);
  assert.equal(gauges.get('comparisonWalMostBytes'), 500 * 4096);
  follower.salts = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0);
  follower.mxFrame = 13_000;
  assert.deepEqual(compared(14_000), [
    'info the WAL grew while the database was read; it is checkpointed now undefined',
  ]);
  assert.equal(gauges.get('comparisonWalMostBytes'), 13_000 * 4096);
  assert.deepEqual(compared(14_000, false), [], 'what did not stand in the way is not to blame');
});

test('what the disk does is told of once, and not put down to a process that hangs', (t) => {
  const { tried, follower } = setUp(t);
  follower.checkpointFailure = 'the disk is full';
  assert.deepEqual(tried('busy', 50_000, 1000), ['warn the disk does not take a checkpoint undefined']);
  assert.deepEqual(tried('busy', 50_000, 60_000), []);
});
