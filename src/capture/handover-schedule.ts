import { Backoff } from '../base/async.ts';
import { CommitPace } from './commit-pace.ts';
import type { HandoverOutcome } from './handover.ts';
import type { CaptureSettings } from './options.ts';

/**
 * Part of `min-checkpoint-page-count` from which a handover is tried: SQLite's own automatic checkpoints begin at the same number
 * of pages by default, and whoever commits then waits for them.
 */
const DUE_AT = 0.9;
/** Between two handovers, however fast the WAL fills: each costs whoever commits just then some milliseconds. */
const PAUSE_MS = 250;
/** Part of `truncate-page-n` from which that is not waited for; and where there is no such limit, what is taken for it. */
const URGENT_AT = 0.2;
const UNLIMITED_PAGES = 121_359;
/** From this many times as many pages as make a handover due it can be urgent, however small `truncate-page-n` is beside them. */
const URGENT_FROM = 1.25;
/** Pauses after handovers into which writers did not let us. */
const BUSY_PAUSE_MS = { first: 2, most: 50 } as const;
/** The same after those that met somebody else's checkpoint. */
const MET_PAUSE_MS = 20;
/** Pauses after handovers that another reader kept from being complete. */
const BLOCKED_PAUSE_MS = { first: 50, most: 1000 } as const;

type Limits = Pick<CaptureSettings, 'minCheckpointPages' | 'checkpointIntervalMs' | 'truncatePages'>;

/** When the WAL of one database is to be handed over, at the pace at which frames come in. */
export class HandoverSchedule {
  readonly #limits: Limits;
  /** Told of by whoever glances at the WAL-index. */
  readonly pace = new CommitPace();
  readonly #busyPause = new Backoff(BUSY_PAUSE_MS.first, BUSY_PAUSE_MS.most);
  readonly #blockedPause = new Backoff(BLOCKED_PAUSE_MS.first, BLOCKED_PAUSE_MS.most);
  /** After one that was refused, and after one that was not. */
  #notBeforeMs = 0;
  #nextMs = 0;
  #lastDoneMs = Number.NEGATIVE_INFINITY;
  /** Frames that were seen, when that was, and what came in each ms before. */
  #frames = 0;
  #atMs = 0;
  #framesAMs = 0;
  #lastFrameMs = Number.NEGATIVE_INFINITY;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** When frames were last found, on the monotonic clock. */
  get lastFrameMs(): number {
    return this.#lastFrameMs;
  }

  /** From so many pages in the WAL on no pause is kept: it must not reach the size at which its file is shrunk, nor grow without end. */
  get pagesUrgent(): number {
    const { truncatePages } = this.#limits;
    const pages = truncatePages > 0 && Number.isFinite(truncatePages) ? truncatePages : UNLIMITED_PAGES;
    return Math.ceil(Math.max(pages * URGENT_AT, this.#pagesDue * URGENT_FROM));
  }

  get #pagesDue(): number {
    return Math.max(1, Math.floor(this.#limits.minCheckpointPages * DUE_AT));
  }

  /** So many frames have been seen by now, in all generations of the WAL. */
  note(frames: number): void {
    const atMs = performance.now();
    if (frames > this.#frames) this.#lastFrameMs = atMs;
    const pastMs = atMs - this.#atMs;
    if (pastMs <= 0) return;
    // A writer that paused for a moment goes on as before.
    this.#framesAMs = Math.max((frames - this.#frames) / pastMs, this.#framesAMs / 2);
    this.#frames = frames;
    this.#atMs = atMs;
  }

  /** `pages`: frames in the WAL now. */
  isDue(pages: number): boolean {
    const now = performance.now();
    if (now < this.#notBeforeMs || (now < this.#nextMs && pages < this.pagesUrgent)) return false;
    const { checkpointIntervalMs } = this.#limits;
    const isQuiet = now - this.#lastFrameMs >= this.pace.quietMs;
    const isLate = checkpointIntervalMs > 0 && now - this.#lastDoneMs >= checkpointIntervalMs;
    return isQuiet || isLate || pages >= this.#pagesDue;
  }

  /** Until one is due for the pages of the WAL, or for quiet, at the pace of the last frames. */
  msUntilDue(pages: number): number {
    const now = performance.now();
    const msUntil = (limit: number): number =>
      this.#framesAMs > 0 ? Math.max(0, limit - pages) / this.#framesAMs : Number.POSITIVE_INFINITY;
    const untilDueMs = Math.min(msUntil(this.#pagesDue), this.#lastFrameMs + this.pace.quietMs - now);
    const untilNextMs = Math.min(msUntil(this.pagesUrgent), this.#nextMs - now);
    return Math.max(untilDueMs, untilNextMs, this.#notBeforeMs - now);
  }

  /** One was tried just now; where it was refused, carry on and try again later. */
  tried(outcome: HandoverOutcome): void {
    const now = performance.now();
    if (outcome === 'busy') this.#notBeforeMs = now + this.#busyPause.next();
    if (outcome === 'met') this.#notBeforeMs = now + MET_PAUSE_MS;
    if (outcome === 'blocked') this.#notBeforeMs = now + this.#blockedPause.next();
    if (outcome !== 'done') return;
    this.#nextMs = now + PAUSE_MS;
    this.#lastDoneMs = now;
    this.#busyPause.reset();
    this.#blockedPause.reset();
  }
}
