import { pause } from '../base/async.ts';
import { messageOf } from '../base/errors.ts';
import { isBusy } from '../sqlite/sqlite-error.ts';
import { frameSize } from '../sqlite/wal.ts';
import type { WalIndexHead } from '../sqlite/wal-index.ts';
import type { DatabaseHandles } from './connections.ts';
import type { CaptureGauges } from './gauges.ts';
import { Discontinuity } from './interruptions.ts';

/** First and longest wait for the barrier's lock; grows with every refusal, so that a busy writer cannot starve it. */
const BARRIER_PATIENCE_MS = { first: 2, most: 50 } as const;
/** For those who may be in the way of a checkpoint that nobody's copying has to wait for. */
const CLEARING_PATIENCE_MS = 20;
/** Between two tries for the barrier: writers that commit without a pause leave it free for an instant only. */
const BARRIER_PAUSE_MS = 0.2;
/**
 * Frames that may still have to be copied, backfilled, or synced in the database file while writers are held up, in bytes. More:
 * that is done first, and they go on.
 */
const BARRIER_BYTES = 1024 * 1024;
/** Barriers, where it is urgent, until writers are held up although more than that came in: the others are let down at once. */
const URGENT_TRIES = 5;
/** What may come in before an urgent one without a file being made behind it. */
const URGENT_BYTES = 4 * BARRIER_BYTES;
/** More than this that came in since the last look, or while a checkpoint was made, is copied little by little first, outside of the handover: other databases wait. */
const MUCH_BYTES = 16 * 1024 * 1024;
/** Frames that are not in the database file while somebody else's checkpoint is under way, in bytes. More: it is waited for. */
const MET_BYTES = 4 * 1024 * 1024;
/** Checkpoints beside writers before they are held up for the last one; each leaves it less to do. */
const APPROACHES = 4;
/** Only one checkpoint at a time: how long ours waits for somebody else's, beside writers and while they are held up. */
const CHECKPOINT_PATIENCE_MS = { beside: 1, barrier: 5 } as const;
const CHECKPOINT_PAUSE_MS = 0.2;

/**
 * `blocked`: another reader is in the way; `met`: somebody else's checkpoint is under way, most likely the application's, which works
 * at what the move of our reader has set free; `busy`: writers did not let us in, or the disk did not take it.
 */
export type HandoverOutcome = 'done' | 'blocked' | 'busy' | 'met';

export interface HandoverLimits {
  /** Longest wait for the barrier, ms. */
  readonly busyTimeoutMs: number;
  /** A WAL of so many frames is handed over although writers are held up for longer: it would grow without end otherwise. */
  readonly urgentFrames: number;
}

/** Who stands in the WAL with a read transaction, and whose steps these are. */
export interface StandingReader {
  /** Bytes a page. */
  readonly pageSize: number;
  /** Everything up to here is copied. */
  readonly cursor: { readonly frames: number };
  /** The read began while all of the WAL was in the database file. */
  readonly mayRest: boolean;
  /** The read may end, or move: nobody else needs it. */
  readonly mayLetGo: boolean;
  head(): WalIndexHead;
  /** Committed frames that are not copied. */
  uncopied(head: WalIndexHead): number;
  /** Copies them. */
  capture(): void;
  /** Has a file made now if less than so many bytes could still be copied without one: true then. */
  makeRoom(bytes: number): boolean;
  /** The same, and the read moves on to the newest commit. */
  move(): void;
  /** Begins the read that was ended under the barrier. */
  beginAgain(): void;
}

/**
 * Hands a WAL over: brings all of it into the database file, so that the next writer can begin it anew, without a moment in
 * which a commit could slip by. The steps are those of docs/how-capture-works.md.
 */
export class Handover {
  readonly #follower: StandingReader;
  readonly #handles: DatabaseHandles;
  readonly #limits: HandoverLimits;
  readonly #gauges: CaptureGauges;
  #patienceMs: number = BARRIER_PATIENCE_MS.first;
  #failure: string | undefined;
  #gaveWay = false;
  #mayGiveWay = true;

  constructor(follower: StandingReader, handles: DatabaseHandles, limits: HandoverLimits, gauges: CaptureGauges) {
    this.#follower = follower;
    this.#handles = handles;
    this.#limits = limits;
    this.#gauges = gauges;
  }

  /** Why the disk did not take the last checkpoint; undefined when it did. */
  get failure(): string | undefined {
    return this.#failure;
  }

  run(): HandoverOutcome {
    const follower = this.#follower;
    this.#mayGiveWay = !this.#gaveWay;
    this.#gaveWay = false;
    const reached = this.#approach();
    if (reached !== 'close') return reached;
    for (let tries = 1; ; tries++) {
      const outcome = this.#behindBarrier(tries);
      if (outcome !== 'late') return outcome;
      follower.move();
    }
  }

  /** Steps 3 to 6. `late`: too much came in since step 2, it is to be copied beside writers first. */
  #behindBarrier(tries: number): HandoverOutcome | 'late' {
    const follower = this.#follower;
    const isUrgent = this.#isUrgent(follower.cursor.frames);
    // Nobody is to wait for a file that gets onto the disk.
    if (follower.makeRoom(isUrgent ? URGENT_BYTES : BARRIER_BYTES)) {
      if (this.#givesWay()) return 'busy';
      follower.move();
    }
    const { reader, barrier } = this.#handles; // only now: they change places with every move
    let isDone = false;
    // 3: the barrier. Later than this, and a commit could fall between the copy and the checkpoint.
    if (!this.raiseBarrier(isUrgent)) return 'busy';
    const since = performance.now();
    try {
      // Copying it would hold writers up for too long, unless they fill the WAL faster than it is copied.
      const before = follower.head();
      if (this.#isMoreThan(BARRIER_BYTES, follower.uncopied(before))) {
        if ((!isUrgent && !this.#isUrgent(before.mxFrame)) || this.#givesWay()) return 'busy';
        if (tries < URGENT_TRIES) return 'late';
      }
      follower.capture();
      if (!follower.mayLetGo) return 'busy';
      // 4: only now may our own read end: with the barrier up there is no commit that it would have to protect.
      reader.end();
      isDone = this.#checkpoint(CHECKPOINT_PATIENCE_MS.barrier);
      // 5: begun while the WAL is fully backfilled, the read gets read-lock 0. It must begin before the barrier falls:
      // otherwise a writer could restart the WAL, commit, and have that commit checkpointed away before we look.
      follower.beginAgain();
    } catch (error) {
      throw new Discontinuity(`the handover failed: ${messageOf(error)}`);
    } finally {
      // 6: writers go on.
      barrier.end();
      this.#gauges.addBarrier(performance.now() - since);
    }
    if (follower.mayRest) return 'done';
    return isDone ? 'blocked' : 'busy';
  }

  /**
   * Steps 1 and 2, again and again while writers go on: copy what there is, move the reader to the newest commit, and backfill
   * up to it. Each time less comes in meanwhile. Where nothing does, the read that begins then has read-lock 0: the WAL is
   * handed over (`done`), and nobody was held up. Otherwise it is `close` to that, or something is in the way.
   */
  #approach(): HandoverOutcome | 'close' {
    const follower = this.#follower;
    if (this.#givesWay()) return 'busy';
    follower.move();
    // A transaction that comes and goes stands in the way of one checkpoint or another, but not of all at the same frame.
    let isBlocked = true;
    let stoppedAt: number | undefined;
    let synced: number | undefined;
    for (let i = 0; i < APPROACHES && !follower.mayRest; i++) {
      const { frames } = follower.cursor;
      const isUrgent = this.#isUrgent(frames);
      if (i > 0 && !isBlocked && isUrgent) break;
      const isDone = this.#checkpoint(CHECKPOINT_PATIENCE_MS.beside);
      if (this.#failure !== undefined) return 'busy';
      const { backfilled, mxFrame } = follower.head();
      if (!isDone || backfilled === frames || backfilled !== (stoppedAt ?? backfilled)) isBlocked = false;
      stoppedAt = backfilled;
      // A barrier would be of no use.
      if (!isDone && !isUrgent && this.#isMoreThan(MET_BYTES, mxFrame - backfilled)) return 'met';
      // SQLite syncs the database only at the end of the WAL: it would do so behind the barrier, for all of these pages.
      if (backfilled < mxFrame && (synced === undefined || this.#isMoreThan(BARRIER_BYTES, backfilled - synced))) {
        this.#failure = this.#handles.syncDatabase();
        if (this.#failure !== undefined) return 'busy';
        synced = backfilled;
      }
      if (this.#givesWay()) return 'busy';
      if (i === 0) follower.capture(); // not under the new read, which has the less to do until the next checkpoint ends
      follower.move();
    }
    if (follower.mayRest) return 'done';
    return isBlocked ? 'blocked' : 'close';
  }

  /**
   * Brings the WAL into the database file and has the next writer begin it anew, without regard to what was copied. `truncates`: its
   * file becomes empty.
   */
  clear(truncates: boolean): HandoverOutcome {
    for (let i = 0; i < APPROACHES; i++) {
      const { mxFrame } = this.#follower.head();
      if (!this.#checkpoint(CHECKPOINT_PATIENCE_MS.beside)) return 'busy';
      const after = this.#follower.head();
      if (after.backfilled < mxFrame) return 'blocked';
      if (!this.#isMoreThan(BARRIER_BYTES, after.mxFrame - after.backfilled)) break;
    }
    const { checkpointer } = this.#handles;
    checkpointer.patience(CLEARING_PATIENCE_MS);
    const since = performance.now();
    try {
      const { busy, failure } = this.#handles.checkpoint(truncates ? 'TRUNCATE' : 'RESTART'); // with the write lock
      this.#failure = failure;
      return busy ? 'busy' : 'done';
    } finally {
      this.#gauges.addBarrier(performance.now() - since);
      checkpointer.patience(0);
    }
  }

  /** Not in two handovers in a row: the WAL may not grow for that. */
  #givesWay(): boolean {
    const follower = this.#follower;
    if (!this.#mayGiveWay) return false;
    this.#gaveWay = this.#isMoreThan(MUCH_BYTES, follower.uncopied(follower.head()));
    return this.#gaveWay;
  }

  #isUrgent(frames: number): boolean {
    return frames >= this.#limits.urgentFrames;
  }

  #isMoreThan(bytes: number, frames: number): boolean {
    return frames * frameSize(this.#follower.pageSize) > bytes;
  }

  /** False when it could not be tried: somebody else makes one all the time, or the disk does not take it. */
  #checkpoint(patienceMs: number): boolean {
    for (let waitedMs = 0; ; waitedMs += CHECKPOINT_PAUSE_MS) {
      const { busy, failure } = this.#handles.checkpoint('PASSIVE');
      this.#failure = failure;
      if (!busy || failure !== undefined || waitedMs >= patienceMs) return !busy;
      pause(CHECKPOINT_PAUSE_MS);
    }
  }

  /** Nobody can commit from then on; false when writers did not leave it to us. `isUrgent`: with all patience that there may be. */
  raiseBarrier(isUrgent = false): boolean {
    const { barrier } = this.#handles;
    const most = Math.max(BARRIER_PATIENCE_MS.first, Math.min(BARRIER_PATIENCE_MS.most, this.#limits.busyTimeoutMs));
    const patienceMs = isUrgent ? most : this.#patienceMs;
    for (let tries = Math.ceil(patienceMs / BARRIER_PAUSE_MS); ; tries--) {
      try {
        barrier.beginBarrier();
        this.#patienceMs = BARRIER_PATIENCE_MS.first;
        return true;
      } catch (error) {
        if (!isBusy(error)) throw error;
        if (tries <= 1) {
          this.#patienceMs = Math.min(this.#patienceMs * 1.5, most);
          return false;
        }
        pause(BARRIER_PAUSE_MS);
      }
    }
  }
}
