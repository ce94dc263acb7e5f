import type { Logger } from '../base/log.ts';
import { saltsEqual } from '../sqlite/wal.ts';
import type { CaptureGauges } from './gauges.ts';
import type { HandoverOutcome } from './handover.ts';
import type { WalFollower } from './wal-follower.ts';

/** A WAL of so many times the pages that make a checkpoint due is said to grow. */
const SAID_FROM = 10;
/** For so long no checkpoint came through, although no reader was seen in the way, before that is said: writers can be as busy. */
const STUCK_MS = 10_000;

type Watched = Pick<
  WalFollower,
  'head' | 'cursor' | 'walFileBytes' | 'bytesTaken' | 'databaseBytes' | 'pageSize' | 'checkpointFailure'
>;

/** Measures how large the WAL is, and says so when something lets it grow. */
export class WalWatch {
  readonly #log: Logger;
  readonly #gauges: CaptureGauges;
  readonly #pagesDue: number;
  /** When a handover was first tried that was not done, and of which WAL. */
  #unfinishedSinceMs: number | undefined;
  #unfinishedSalts: Uint8Array | undefined;
  #mostBytes = 0;
  #isSaid = false;
  #failure: string | undefined;

  /** `pagesDue`: pages in the WAL that make a checkpoint due. */
  constructor(log: Logger, gauges: CaptureGauges, pagesDue: number) {
    this.#log = log;
    this.#gauges = gauges;
    this.#pagesDue = pagesDue;
  }

  look(follower: Watched): void {
    const { mxFrame, backfilled, salts } = follower.head();
    const bytes = follower.walFileBytes;
    this.#gauges.set('walFileBytes', bytes);
    this.#gauges.raise('walFileMostBytes', bytes);
    this.#gauges.set('walFramesWaiting', Math.max(0, mxFrame - backfilled));
    this.#gauges.set('walCapturedBytes', follower.bytesTaken);
    this.#gauges.set('databaseBytes', follower.databaseBytes);
    this.#mostBytes = Math.max(this.#mostBytes, bytes);
    // Somebody else's checkpoint let it begin anew.
    if (this.#unfinishedSalts && !saltsEqual(salts, this.#unfinishedSalts)) this.#over();
  }

  /** A handover was tried. */
  tried(outcome: HandoverOutcome, follower: Watched): void {
    this.#sayFailure(follower.checkpointFailure);
    if (outcome === 'done') {
      this.#gauges.add('handoversDone');
      this.#over();
      return;
    }
    this.#gauges.add(outcome === 'blocked' ? 'handoversBlocked' : 'handoversBusy');
    const now = performance.now();
    this.#unfinishedSinceMs ??= now;
    const { salts, mxFrame } = follower.head();
    this.#unfinishedSalts ??= Uint8Array.from(salts);
    const ms = Math.round(now - this.#unfinishedSinceMs);
    // What the disk does is said elsewhere.
    const isWrong = outcome === 'blocked' || (ms >= STUCK_MS && follower.checkpointFailure === undefined);
    if (this.#isSaid || !isWrong || mxFrame < this.#pagesDue * SAID_FROM) return;
    this.#isSaid = true;
    const bytes = follower.walFileBytes;
    if (outcome === 'blocked') {
      this.#log.log('warn', 'a reader of the application keeps the WAL from being checkpointed: it grows', {
        bytes,
        ms,
        next: 'end read transactions that are not needed any more',
      });
    } else {
      this.#log.log('warn', 'no checkpoint of the WAL comes through: it grows', {
        bytes,
        ms,
        next: 'see whether a process of the application hangs in a checkpoint or a transaction',
      });
    }
  }

  #sayFailure(failure: string | undefined): void {
    const isSaid = this.#failure !== undefined;
    this.#failure = failure;
    if (failure === undefined || isSaid) return;
    const kept = 'what is not in the database file stays in the WAL, and capture goes on';
    const next = 'see that the disk has room; if it has errors, copy the database to another one, and check it there';
    this.#log.log('warn', 'the disk does not take a checkpoint', { error: failure, kept, next });
  }

  #over(): void {
    if (this.#isSaid && this.#unfinishedSinceMs !== undefined) {
      const ms = Math.round(performance.now() - this.#unfinishedSinceMs);
      this.#log.log('info', 'the WAL is checkpointed again', { bytes: this.#mostBytes, ms });
    }
    this.#isSaid = false;
    this.#unfinishedSinceMs = undefined;
    this.#unfinishedSalts = undefined;
    this.#mostBytes = 0;
  }

  /** All pages were read, as of `from`. Where the read `stoodStill`, it kept the WAL from being backfilled further than to there. */
  compared(follower: Watched, from: WalFollower['cursor'], stoodStill: boolean): void {
    this.look(follower);
    // A read that began with all of the WAL in the database file keeps nobody from beginning it anew.
    const { mxFrame, salts } = follower.head();
    const grown = saltsEqual(salts, from.salts) ? Math.max(0, mxFrame - from.frames) : mxFrame;
    const bytes = grown * follower.pageSize;
    this.#gauges.add('comparisons');
    this.#gauges.raise('comparisonWalMostBytes', bytes);
    if (grown < this.#pagesDue || !stoodStill) return;
    this.#log.log('info', 'the WAL grew while the database was read; it is checkpointed now', { bytes });
  }
}
