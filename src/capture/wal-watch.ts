import type { Logger } from '../base/log.ts';
import type { CaptureGauges } from './gauges.ts';
import type { HandoverOutcome } from './handover.ts';
import type { WalFollower } from './wal-follower.ts';

/** A WAL of so many times the pages that make a checkpoint due is said to grow. */
const SAID_FROM = 10;

/** Measures how large the WAL is, and says so when another reader lets it grow. */
export class WalWatch {
  readonly #log: Logger;
  readonly #gauges: CaptureGauges;
  readonly #pagesDue: number;
  #blockedSinceMs: number | undefined;
  #mostBytes = 0;
  #isSaid = false;

  /** `pagesDue`: pages in the WAL that make a checkpoint due. */
  constructor(log: Logger, gauges: CaptureGauges, pagesDue: number) {
    this.#log = log;
    this.#gauges = gauges;
    this.#pagesDue = pagesDue;
  }

  look(follower: WalFollower): void {
    const { mxFrame, backfilled } = follower.head();
    const bytes = follower.walFileBytes;
    this.#gauges.set('walFileBytes', bytes);
    this.#gauges.raise('walFileMostBytes', bytes);
    this.#gauges.set('walFramesWaiting', Math.max(0, mxFrame - backfilled));
    this.#gauges.set('walCapturedBytes', follower.bytesTaken);
    this.#gauges.set('databaseBytes', follower.commit * follower.pageSize);
    this.#mostBytes = Math.max(this.#mostBytes, bytes);
  }

  /** A handover was tried. */
  tried(outcome: HandoverOutcome, follower: WalFollower): void {
    if (outcome === 'busy' || outcome === 'met') this.#gauges.add('handoversBusy');
    if (outcome === 'blocked') this.#blocked(follower);
    if (outcome === 'done') this.#done();
  }

  #blocked(follower: WalFollower): void {
    this.#gauges.add('handoversBlocked');
    this.#blockedSinceMs ??= performance.now();
    if (this.#isSaid || follower.cursor.frames < this.#pagesDue * SAID_FROM) return;
    this.#isSaid = true;
    this.#log.log('warn', 'a reader of the application keeps the WAL from being checkpointed: it grows', {
      bytes: follower.walFileBytes,
      ms: Math.round(performance.now() - this.#blockedSinceMs),
      next: 'end read transactions that are not needed any more',
    });
  }

  #done(): void {
    this.#gauges.add('handoversDone');
    if (this.#isSaid && this.#blockedSinceMs !== undefined) {
      const ms = Math.round(performance.now() - this.#blockedSinceMs);
      this.#log.log('info', 'the WAL is checkpointed again', { bytes: this.#mostBytes, ms });
    }
    this.#isSaid = false;
    this.#blockedSinceMs = undefined;
    this.#mostBytes = 0;
  }

  /** All pages were read, while a read transaction kept the WAL from being backfilled further than to `frames`. */
  compared(follower: WalFollower, frames: number): void {
    this.look(follower);
    const grown = Math.max(0, follower.head().mxFrame - frames);
    const bytes = grown * follower.pageSize;
    this.#gauges.add('comparisons');
    this.#gauges.raise('comparisonWalMostBytes', bytes);
    if (grown < this.#pagesDue) return;
    this.#log.log('info', 'the WAL grew while the database was read; it is checkpointed now', { bytes });
  }
}
