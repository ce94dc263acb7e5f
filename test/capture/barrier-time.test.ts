import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Connection } from '../../src/capture/connections.ts';
import { CaptureGauges } from '../../src/capture/gauges.ts';
import { metricsText } from '../../src/daemon/metrics.ts';
import { FollowerSetup } from '../support/follower.ts';

/** What a step of the capture takes on the clock of this test: while it keeps others from committing, and otherwise. */
const STEP_MS = { heldUp: 7, free: 1000 } as const;

/** A clock that moves with the steps of a capture alone, and how much of its time writers could not commit, as one of them sees it. */
class StepClock {
  readonly #setup: FollowerSetup;
  #nowMs = 1000;
  #stretchMs = 0;
  /** Each time that writers were held up, in ms. */
  readonly stretches: number[] = [];
  /** Somebody else does so: that is no time of ours. */
  othersWrite = false;
  beforeCheckpoint = (): void => undefined;

  constructor(t: TestContext, setup: FollowerSetup) {
    this.#setup = setup;
    t.mock.method(performance, 'now', () => this.#nowMs);
    const step = (isLocked = false): void => this.#step(isLocked);
    const beforeCheckpoint = (): void => this.beforeCheckpoint();
    const { beginRead, beginBarrier, end, checkpoint } = Connection.prototype;
    for (const [name, work] of Object.entries({ beginRead, beginBarrier, end })) {
      t.mock.method(Connection.prototype, name as 'end', function (this: Connection) {
        step();
        work.call(this);
      });
    }
    t.mock.method(Connection.prototype, 'checkpoint', function (this: Connection, mode: 'PASSIVE' | 'TRUNCATE') {
      beforeCheckpoint();
      step(mode !== 'PASSIVE'); // the others take the write lock themselves
      return checkpoint.call(this, mode);
    });
  }

  #step(isLocked: boolean): void {
    if (!this.#setup.app.isOpen) return; // it is over
    const isHeldUp = isLocked || (!this.othersWrite && this.#setup.isHeldUp);
    this.#nowMs += isHeldUp ? STEP_MS.heldUp : STEP_MS.free;
    if (isHeldUp) this.#stretchMs += STEP_MS.heldUp;
    if (!isHeldUp || isLocked) this.#endStretch();
  }

  #endStretch(): void {
    if (this.#stretchMs > 0) this.stretches.push(this.#stretchMs);
    this.#stretchMs = 0;
  }

  /** What is told of barriers is what a writer would have seen. Returns how many there were. */
  check(): number {
    this.#endStretch();
    const sumMs = this.stretches.reduce((sum, ms) => sum + ms, 0);
    const most = Math.max(0, ...this.stretches);
    assert.deepEqual(barriersOf(this.#setup.gauges), { count: this.stretches.length, sumMs, most });
    return this.stretches.length;
  }
}

/** As they are exported, by the thread that did not write them. */
function barriersOf({ memory }: CaptureGauges): Record<'count' | 'sumMs' | 'most', number> {
  const text = metricsText(
    [
      {
        path: 'app.db',
        state: 'attached',
        gauges: new CaptureGauges(memory),
        capturedTxid: 0n,
        storedTxid: 0n,
        storedFiles: 0,
        storedBytes: 0,
        waitingFiles: 0,
        waitingBytes: 0,
        waitingSinceMs: undefined,
        uploadFailures: 0,
      },
    ],
    0,
  );
  const figure = (name: string): number => Number(new RegExp(`^${name}\\{db="app.db"\\} (.*)$`, 'm').exec(text)?.[1]);
  return {
    count: figure('rivulet_barrier_ms_count'),
    sumMs: figure('rivulet_barrier_ms_sum'),
    most: figure('rivulet_barrier_most_ms'),
  };
}

test('the time of a barrier is all of the time in which a writer could not commit, and no other', async (t) => {
  const setup = await FollowerSetup.begin(t, { maxPendingBytes: 0 });
  const { follower, app } = setup;
  const clock = new StepClock(t, setup);
  setup.commit(100_000);
  assert.equal(follower.handOver(), 'done');
  assert.equal(clock.check(), 0, 'nothing came in meanwhile: nobody was held up, however long it took');

  // A commit beside every checkpoint: there is no other way than a barrier.
  clock.beforeCheckpoint = () => setup.isHeldUp || setup.commit(1000);
  for (let round = 1; round <= 3; round++) {
    setup.commit(100_000);
    follower.move();
    assert.equal(follower.handOver(), 'done');
    assert.equal(clock.check(), round);
  }
  assert.ok(
    clock.stretches.every((ms) => ms >= 3 * STEP_MS.heldUp),
    'a read ended, a checkpoint, a new read',
  );

  setup.commit(100_000);
  // Somebody is always in the middle of the next transaction.
  clock.othersWrite = true;
  const next = 'BEGIN IMMEDIATE; INSERT INTO t VALUES (2)';
  app.exec(next);
  clock.beforeCheckpoint = () => app.exec(`COMMIT; ${next}`);
  assert.equal(follower.handOver(), 'busy');
  assert.equal(clock.check(), 3, 'to wait for a barrier holds nobody up');
});

test('so is that of a WAL that is cut, cleared, or brought into the database before a comparison', async (t) => {
  const setup = await FollowerSetup.begin(t, { maxPendingBytes: 0 });
  const { follower } = setup;
  const clock = new StepClock(t, setup);
  setup.commit(100_000);
  assert.equal(follower.handOver(), 'done');
  assert.ok(follower.shrinkWal());
  assert.equal(clock.check(), 1, 'a TRUNCATE');
  assert.ok(follower.shrinkWal());
  assert.equal(clock.check(), 1, 'there was nothing to cut');

  setup.commit(100_000);
  follower.letGo();
  follower.clearWal(false);
  assert.equal(clock.check(), 2, 'a RESTART');

  setup.commit(100_000);
  follower.beginBackfilled();
  assert.equal(clock.check(), 3, 'a barrier around a checkpoint');
});
