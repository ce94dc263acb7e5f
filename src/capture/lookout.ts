import type { FileIdentity } from '../base/database-files.ts';
import type { Logger } from '../base/log.ts';
import { EventsProof } from './events-proof.ts';
import type { HandoverSchedule } from './handover-schedule.ts';
import type { CaptureSettings } from './options.ts';
import { type Hint, Waker } from './waker.ts';
import type { WalFollower } from './wal-follower.ts';

/** While commits arrive: how often to see in the WAL-index, between two looks, whether the next one should be sooner. */
const GLANCE_MS = 200;
/** The same beside an application that makes checkpoints of its own. Not beside all: to wake up is most of what a glance costs. */
const WATCHFUL_GLANCE_MS = 50;
/** The same while the reader stands on read-lock 0: once commits arrive, nobody's checkpoint gets anywhere meanwhile. */
const REST_GLANCE_MS = 30;
/** The same after somebody seemed to wait for our read transaction, at first: a RESTART or TRUNCATE does so twice. */
const ALERT_GLANCE_MS = 5;
/** A WAL that fills quickly is looked at before it is due, but not more often than this. */
const LEAST_LOOK_MS = 2;
/** Whoever wants commits to be stored sooner than this is told of each. */
const AT_ONCE_MS = 50;
/** Without commits for this long, wait for a file-system event. */
const IDLE_MS = 1000;
/** Without commits and events for this long, connections that are not needed are closed, and only events are waited for. */
const REST_MS = 30_000;

const events = new EventsProof();
let isNoWatchesSaid = false;

/** Once: it is the same for all databases. */
function sayNoWatches(log: Logger, error: string): void {
  if (isNoWatchesSaid) return;
  isNoWatchesSaid = true;
  log.log('warn', 'the system gives no more file watches: databases are looked at once a monitor-interval', {
    error,
    next: 'raise fs.inotify.max_user_watches and fs.inotify.max_user_instances, which takes less of the CPU',
  });
}

type Settings = Pick<CaptureSettings, 'path' | 'metaPath' | 'monitorIntervalMs' | 'syncIntervalMs'>;

/** Waits until one database has to be looked at. */
export class Lookout {
  readonly #settings: Settings;
  readonly #schedule: HandoverSchedule;
  readonly #waker: Waker;
  #device: bigint | undefined;
  #attachedMs = Number.NEGATIVE_INFINITY;
  #lastEventMs = Number.NEGATIVE_INFINITY;
  /** Somebody seemed to wait for our read transaction when so much was backfilled, after so many checkpoints of our own. */
  #awaited: { readonly backfilled: number; readonly checkpoints: number } | undefined;
  /** Somebody did, for a checkpoint. */
  #isWatchful = false;
  /** Until the next glance; grows with each. */
  #glanceMs = REST_GLANCE_MS;
  #glance: NodeJS.Timeout | undefined;

  constructor(settings: Settings, schedule: HandoverSchedule, log: Logger) {
    this.#settings = settings;
    this.#schedule = schedule;
    this.#waker = new Waker(
      () => this.#noteEvent(),
      (why) => sayNoWatches(log, why),
    );
  }

  /** This file is looked after from now on. */
  attach({ device }: FileIdentity): void {
    this.#device = device;
    this.#attachedMs = performance.now();
    this.#awaited = undefined;
    this.#isWatchful = false;
  }

  /** Ends the wait, or the next one. */
  wake(): void {
    this.#waker.wake();
  }

  /** Waits for {@link wake}, up to `ms`. */
  pause(ms: number): Promise<void> {
    return this.#waker.wait(ms);
  }

  /**
   * Waits while commits arrive, until the reader should move, the WAL be handed over, or a file be cut, which it is
   * `untilCutMs` from now if there is anything to put into it.
   */
  async whileBusy(follower: WalFollower, untilCutMs: number): Promise<void> {
    const { monitorIntervalMs, syncIntervalMs } = this.#settings;
    const cutAtMs = performance.now() + untilCutMs;
    const mostMs = untilCutMs > 0 || follower.pending.count > 0 ? Math.max(untilCutMs, 1) : monitorIntervalMs;
    this.#glanceLater(follower, follower.rests ? 0 : follower.cursor.frames, cutAtMs);
    try {
      const hints = syncIntervalMs < AT_ONCE_MS ? [this.#commitTo(follower)] : [];
      await this.#waker.wait(Math.min(mostMs, monitorIntervalMs, IDLE_MS), ...hints);
    } finally {
      clearTimeout(this.#glance);
    }
  }

  /** `pages`: in the WAL, 0 when they are handed over. */
  #glanceLater(follower: WalFollower, pages: number, cutAtMs: number): void {
    const mostMs = Math.min(this.#glanceMs, this.#expectedMs, follower.mayRest ? REST_GLANCE_MS : this.#usualMs);
    this.#glanceMs = 2 * mostMs;
    // When a handover is due is not known long before.
    const dueMs = pages > 0 ? Math.max(this.#schedule.msUntilDue(pages), LEAST_LOOK_MS) : mostMs;
    this.#glance = setTimeout(() => this.#glanceNow(follower, cutAtMs), Math.min(mostMs, dueMs));
  }

  /** An event came, and no commit yet: it counts in a moment. Only who wants it to be stored at once is told of events then. */
  get #expectedMs(): number {
    if (this.#lastEventMs <= this.#schedule.lastFrameMs) return Number.POSITIVE_INFINITY;
    return Math.max(performance.now() - this.#lastEventMs, LEAST_LOOK_MS);
  }

  /** Who wants commits to be stored soon has them noticed soon. */
  get #usualMs(): number {
    if (this.#isWatchful) return WATCHFUL_GLANCE_MS;
    return Math.min(Math.max(this.#settings.syncIntervalMs / 2, WATCHFUL_GLANCE_MS), GLANCE_MS);
  }

  /** Ends the wait if there is something to do before its time has come. */
  #glanceNow(follower: WalFollower, cutAtMs: number): void {
    try {
      const head = follower.glance();
      const uncopied = follower.uncopied(head);
      this.#schedule.note(follower.framesTaken + uncopied);
      this.#schedule.pace.note(head.change);
      const pages = uncopied > 0 || !follower.mayRest ? head.mxFrame : 0;
      // A FULL, RESTART or TRUNCATE waits for our read transaction with the write lock in its hands, so nobody commits; and it does
      // so before it has written anything: no event tells of that.
      const isAwaited = follower.isMoveDue(head) && this.#schedule.pace.isStill(() => follower.unwrittenMs);
      this.#noteCheckpoint(head.backfilled, follower.checkpoints, isAwaited);
      if (isAwaited) this.#glanceMs = ALERT_GLANCE_MS;
      const isWanted = uncopied > 0 && (follower.mayRest || performance.now() >= cutAtMs);
      if (!isAwaited && !isWanted && !(pages > 0 && this.#schedule.isDue(pages))) {
        this.#glanceLater(follower, pages, cutAtMs);
        return;
      }
    } catch {
      // the look meets it, too
    }
    this.wake();
  }

  /** Whoever waits for us once to make a checkpoint will do so again. */
  #noteCheckpoint(backfilled: number, checkpoints: number, isAwaited: boolean): void {
    const before = this.#awaited?.checkpoints === checkpoints ? this.#awaited : undefined;
    if (before && backfilled > before.backfilled) this.#isWatchful = true;
    this.#awaited = isAwaited ? { backfilled, checkpoints } : before;
  }

  /** Nothing has been committed for a while, and the reader rests. Something may be pending. */
  isIdle(follower: WalFollower): boolean {
    return performance.now() - this.#schedule.lastFrameMs > IDLE_MS && follower.restsSurely;
  }

  /**
   * Where events tell of commits, there is nothing to do until one comes, and no time after which to look: until what is pending is to be
   * stored, in `untilCutMs`. But an event comes when frames are written, and a commit counts once the WAL-index says so, which is no
   * event: that can be long after.
   */
  async whileIdle(follower: WalFollower, untilCutMs: number): Promise<void> {
    const { path, monitorIntervalMs } = this.#settings;
    const quietMs = performance.now() - Math.max(this.#lastEventMs, this.#schedule.lastFrameMs, this.#attachedMs);
    const commit = this.#commitTo(follower);
    const file: Hint = { path };
    if (!this.#isTold) {
      await this.#waker.wait(Math.min(monitorIntervalMs, untilCutMs), commit);
    } else if (quietMs < REST_MS) {
      const soonMs = Math.max(quietMs, LEAST_LOOK_MS);
      await this.#waker.wait(Math.min(soonMs, monitorIntervalMs, untilCutMs), commit, file);
    } else {
      follower.rest();
      await this.#waker.sleep(monitorIntervalMs, untilCutMs, commit, file);
    }
  }

  #commitTo(follower: WalFollower): Hint {
    return { path: `${this.#settings.path}-wal`, changed: () => !follower.isCaught(follower.head()) };
  }

  #noteEvent(): void {
    this.#lastEventMs = performance.now();
    if (this.#device !== undefined) events.told(this.#device);
  }

  /** Events tell of what happens to the database. */
  get #isTold(): boolean {
    if (this.#device === undefined) return false;
    events.ask(this.#device, this.#settings.metaPath);
    return events.isTold(this.#device);
  }
}
