import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { HandoverOutcome } from '../../src/capture/handover.ts';
import type { WalFollower } from '../../src/capture/wal-follower.ts';
import { WalKeeper } from '../../src/capture/wal-keeper.ts';
import type { WalWatch } from '../../src/capture/wal-watch.ts';

const SETTINGS = { minCheckpointPages: 100, truncatePages: 0, monitorIntervalMs: 5000 };

describe('a WAL that nobody follows', () => {
  test('is tried again soon, but ever later where somebody is in the way: each try can hold writers up', () => {
    const watch = { tried: () => undefined, look: () => undefined } as unknown as WalWatch; // what is called of one
    const keeper = new WalKeeper(SETTINGS, watch);
    const lookAt = (frames: number, outcome: HandoverOutcome): number => {
      const head = { mxFrame: frames, backfilled: 0 };
      keeper.look({
        head: () => head,
        clearWal: () => outcome,
        walFileBytes: 0,
        pageSize: 4096,
      } as unknown as WalFollower);
      return keeper.lookMs;
    };
    assert.equal(lookAt(99, 'done'), 5000, 'nothing is due');
    assert.equal(lookAt(100, 'done'), 100);
    const waits = Array.from({ length: 5 }, () => lookAt(100, 'busy'));
    assert.ok(waits[0] !== undefined && waits[0] <= 125, `${waits}`);
    assert.ok(waits[4] !== undefined && waits[4] >= 1000 && waits[4] <= 1250, `${waits}`);
    assert.ok(lookAt(100, 'blocked') >= 1000);
    assert.equal(lookAt(100, 'done'), 100);
    assert.ok(lookAt(100, 'busy') <= 125, 'begins anew');
  });
});
