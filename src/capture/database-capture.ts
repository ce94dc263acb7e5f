import { dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Backoff } from '../base/async.ts';
import { identify } from '../base/database-files.ts';
import { DISK_FULL_CODES, hasCode, messageOf, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { isShortOfScratch } from '../base/scratch-chunks.ts';
import { formatTxid, type Txid } from '../base/types.ts';
import { isBusy } from '../sqlite/sqlite-error.ts';
import { frameOffset } from '../sqlite/wal.ts';
import type { WalIndexHead } from '../sqlite/wal-index.ts';
import { asDatabaseError } from './database-error.ts';
import { DiskShare, type Disks, isOutgrown, nearlyFull } from './disk-share.ts';
import { CaptureGauges } from './gauges.ts';
import { HandoverSchedule } from './handover-schedule.ts';
import { inspectDatabase } from './inspect.ts';
import { Discontinuity, Hindered, NotReady, Replaced } from './interruptions.ts';
import { L0Maker } from './l0-maker.ts';
import type { SpooledFile } from './l0-writer.ts';
import { Lookout } from './lookout.ts';
import type { CaptureListener, CaptureSettings, GivenUp, StartingPoint } from './options.ts';
import { Room } from './room.ts';
import type { SnapshotReader } from './snapshot-reader.ts';
import { WalFollower } from './wal-follower.ts';
import { WalKeeper } from './wal-keeper.ts';
import type { WalReader } from './wal-reader.ts';
import { WalWatch } from './wal-watch.ts';

/** Part of the sync interval after which a file is cut: the rest is for writing and storing it. */
const CUT_AT = 0.95;
/** Longest time for which commits are gathered while the file before is on its way to the store, where they are wanted sooner. */
const GATHER_MS = 1000;
/** Pauses between tries after an error. */
const RETRY_MS = { first: 500, most: 60_000 } as const;
/** Pause when somebody had a lock that is needed. */
const BUSY_MS = 50;
/** Nothing can be captured any more, and trying again would not help. */
const OVERWRITTEN = 'DATABASE_OVERWRITTEN';
/** How often a WAL into which commits still come is settled at the end, and how long a change of the database file takes to show. */
const LEAVE_TRIES = 3;
const LEAVE_PAUSE_MS = 20;
/** What may be kept in scratch files while all pages are read; past that the read stands still. */
const MOST_BESIDE_BYTES = 256 * 1024 * 1024;
/** More than this is copied from the WAL in slices of this size, up to where it ends then; so many times, as writers can be faster. */
const SLICE_BYTES = 8 * 1024 * 1024;
const SLICED_ROUNDS = 4;
/** More than this is brought into the database file by another thread. */
const BACKLOG_BYTES = 64 * 1024 * 1024;
/** Longest wait for the lock that switches a database to WAL mode; it is tried again. */
const SWITCH_PATIENCE_MS = 50;

/** What all captures of a thread have in common. */
export interface SharedThread {
  readonly disks: Disks;
  /** Other databases wait for their turns. */
  hasOthers(): boolean;
}

/** Somebody waits for everything up to now to be in the spool. */
interface Waiter {
  readonly resolve: (txid: Txid | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Captures one live database into L0 files for as long as it is asked to: opens it when it is there, decides when to look,
 * to cut a file and to hand over for a checkpoint, and comes back after whatever goes wrong. How frames are followed is
 * the {@link WalFollower}'s part, how files are made the {@link L0Maker}'s.
 */
export class DatabaseCapture {
  readonly #settings: CaptureSettings;
  readonly #listener: CaptureListener;
  readonly #log: Logger;
  readonly #maker: L0Maker;
  readonly #share: DiskShare;
  readonly #room: Room;
  readonly #gauges: CaptureGauges;
  readonly #thread: SharedThread;
  readonly #walWatch: WalWatch;
  readonly #keeper: WalKeeper;
  readonly #schedule: HandoverSchedule;
  readonly #lookout: Lookout;
  readonly #retry = new Backoff(RETRY_MS.first, RETRY_MS.most);
  readonly #waiters: Waiter[] = [];
  #follower: WalFollower | undefined;
  #stopping = false;
  #hasRoom = false;
  /** Commits of a database that is gone. */
  #lost: RivuletError | undefined;
  #lastCheckMs = Number.NEGATIVE_INFINITY;

  constructor(
    settings: CaptureSettings,
    start: StartingPoint,
    listener: CaptureListener,
    log: Logger,
    gauges = new CaptureGauges(),
    thread: SharedThread = { disks: new Map(), hasOthers: () => true },
  ) {
    this.#gauges = gauges;
    this.#thread = thread;
    this.#settings = settings;
    this.#listener = listener;
    this.#log = log;
    this.#schedule = new HandoverSchedule(settings);
    this.#lookout = new Lookout(settings, this.#schedule, log);
    this.#walWatch = new WalWatch(log, gauges, settings.minCheckpointPages);
    this.#share = new DiskShare(thread.disks, settings.metaPath, () => this.#listener.starved());
    this.#maker = new L0Maker(settings, start, listener, log, this.#share);
    this.#keeper = new WalKeeper(settings, this.#walWatch);
    this.#room = new Room(settings, this.#maker, this.#share, this.#keeper, listener, log);
  }

  /** Runs until {@link stop}; the last commits are then in the spool. Throws when they could not be put there. */
  async run(): Promise<void> {
    try {
      while (!this.#stopping) await this.#attempt();
      await this.#finalCapture();
      for (const waiter of this.#waiters.splice(0)) waiter.resolve(this.#maker.position?.txid);
    } catch (error) {
      // What they wait for is not captured.
      for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
      throw error;
    } finally {
      this.#detach();
      this.#maker.close();
    }
  }

  /** Resolves once every commit that was made before the call is in the spool; undefined while there is no database. */
  sync(): Promise<Txid | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#lookout.wake();
    });
  }

  /** Says that a file is in the store: its room in the spool is given back. */
  stored(file: SpooledFile): void {
    this.#maker.stored(file);
    this.#room.noteStored();
    if (this.#room.suspended !== undefined || this.#settings.syncIntervalMs < GATHER_MS) this.#lookout.wake();
  }

  /** Gives up what was told of and is not stored; the listener hears when that is done. */
  giveUp(what: GivenUp): void {
    this.#room.askToGiveUp(what);
    this.#lookout.wake();
  }

  /** `hasRoom`: the store takes files, so the last commits may go into the spool although it is past its cap. */
  stop(hasRoom = false): void {
    this.#stopping = true;
    this.#hasRoom = hasRoom;
    this.#lookout.wake();
  }

  async #attempt(): Promise<void> {
    try {
      this.#giveUpIfAsked();
      const follower = this.#follower ?? (await this.#attach());
      await this.#look(follower);
      if (this.#room.suspended === undefined) this.#retry.reset();
      await this.#wait(follower);
    } catch (error) {
      await this.#recover(error);
    }
  }

  async #recover(error: unknown): Promise<void> {
    if (error instanceof NotReady) {
      if (error instanceof Replaced && this.#follower) await this.#keepLastCommits(this.#follower);
      this.#detach();
      if (!identify(this.#settings.path)) this.#share.leave();
      this.#listener.state({ kind: 'waiting', reason: error.message });
      if (error instanceof Replaced) return;
      for (const waiter of this.#waiters.splice(0)) waiter.resolve(undefined);
      await this.#lookout.pause(this.#settings.monitorIntervalMs);
    } else if (isBusy(error) && this.#follower) {
      await this.#lookout.pause(BUSY_MS);
    } else {
      const told = asDatabaseError(error, this.#settings);
      if (hasCode(error, OVERWRITTEN)) {
        for (const waiter of this.#waiters.splice(0)) waiter.reject(told);
        throw error;
      }
      let pauseMs = this.#retry.next();
      if (hasCode(error, ...DISK_FULL_CODES)) {
        this.#room.suspend(`no room for local files: ${messageOf(error)}`, this.#follower, hasCode(error, 'EDQUOT'));
        this.#room.resumeIn(pauseMs);
        pauseMs = Math.min(pauseMs, this.#keeper.lookMs);
      } else {
        this.#detach();
        this.#listener.state({ kind: 'failed', error: told });
      }
      for (const waiter of this.#waiters.splice(0)) waiter.reject(told);
      await this.#lookout.pause(pauseMs);
    }
  }

  // ---- Attaching and letting go ----

  async #attach(): Promise<WalFollower> {
    const { path, setWal, busyTimeoutMs } = this.#settings;
    const found = inspectDatabase(path, setWal, Math.min(busyTimeoutMs, SWITCH_PATIENCE_MS));
    if (found.kind === 'not-ready') throw new NotReady(found.reason);
    if (found.kind === 'hindered') throw new Hindered(found.reason);
    if (found.switchedToWal) this.#log.log('info', 'switched the database to WAL mode', { db: path });
    try {
      this.#share.join(identify(dirname(path))?.device ?? 0n);
      return await this.#follow(found.pageSize);
    } catch (error) {
      // Where only room is missing, it stays open, and checkpoints go on until there is some. It stands nowhere: to be suspended
      // lets its read go, and what ends that is a comparison.
      if (!this.#follower || !hasCode(error, ...DISK_FULL_CODES)) this.#detach();
      if (!identify(path)) throw new NotReady('there is no database yet'); // it was removed a moment ago
      // Half of a beginning is none: what is captured from then on would not join what the replica has.
      throw isBusy(error) ? new Hindered('the database is busy') : error;
    }
  }

  async #follow(pageSize: number): Promise<WalFollower> {
    const { path, metaPath, busyTimeoutMs, maxSyncWalBytes } = this.#settings;
    const follower = new WalFollower(
      path,
      {
        pageSize,
        scratchFolder: metaPath,
        busyTimeoutMs,
        maxPendingBytes: maxSyncWalBytes,
        urgentFrames: this.#schedule.pagesUrgent,
      },
      { cut: (wal) => this.#maker.increment(follower, wal) },
      this.#gauges,
    );
    this.#follower = follower;
    this.#lost = undefined; // another one took its place
    this.#lookout.attach(follower.identity);
    this.#lastCheckMs = performance.now();
    const head = follower.beginExactly();
    // Between the look at it and the opening of its last file another one can have taken its place.
    if (!follower.stillThere || !follower.hasItsPageSize) {
      throw new Replaced('the database was replaced by another file');
    }
    this.#listener.state({ kind: 'attached' });
    const { position } = this.#maker;
    this.#sayImage(pageSize);
    const place = this.#maker.needsImage(pageSize) ? undefined : this.#maker.placeToGoOn;
    if (position && place && (await follower.continueFrom(place, this.#maker, head))) {
      this.#log.log('info', 'continuing where the last run stopped', { txid: formatTxid(position.txid) });
    } else {
      await this.#compare(follower, head);
    }
    return follower;
  }

  /** Why the whole database is stored again. */
  #sayImage(pageSize: number): void {
    const { position } = this.#maker;
    if (!position || !this.#maker.needsImage(pageSize)) return;
    const isChanged = position.pageSize !== pageSize;
    const reason = isChanged
      ? `its page size was ${position.pageSize} bytes and is ${pageSize} now`
      : 'the replica lacks a snapshot since its page size changed';
    const kept = 'everything before can still be restored, by TXID';
    this.#log.log('warn', 'storing the whole database anew', { db: this.#settings.path, reason, kept });
  }

  #detach(): void {
    const follower = this.#follower;
    this.#follower = undefined;
    follower?.[Symbol.dispose]();
  }

  async #compare(follower: WalFollower, found: WalIndexHead): Promise<void> {
    const head = await this.#withLittleWal(follower, found);
    using wal = follower.openWal();
    using snapshot = await this.#stand(follower, head, wal);
    const { cursor, walFileBytes } = follower;
    let standsStill = true;
    follower.readBeside(snapshot);
    try {
      await this.#maker.compare(follower, snapshot, async () => {
        standsStill = !(await this.#followBeside(follower, follower.walFileBytes - walFileBytes));
        this.#walWatch.look(follower);
        // It grows because we read: the room for that is the application's.
        const grownBytes = follower.walFileBytes - walFileBytes + (this.#share.isShared ? follower.besideBytes : 0);
        if (isOutgrown(dirname(this.#settings.path), grownBytes)) throw nearlyFull();
      });
    } catch (error) {
      if (error instanceof Discontinuity) throw new Hindered(error.message);
      throw error;
    } finally {
      follower.readBeside(undefined);
    }
    this.#walWatch.compared(follower, cursor, standsStill);
  }

  /** What is only in the WAL would have to be kept while all pages are read, and past a limit everybody's checkpoint waits for that. */
  async #withLittleWal(follower: WalFollower, head: WalIndexHead): Promise<WalIndexHead> {
    if ((head.mxFrame - head.backfilled) * follower.pageSize <= BACKLOG_BYTES) return head;
    await follower.backfill(this.#thread.hasOthers());
    return follower.beginExactly();
  }

  /**
   * While all pages are read: nobody's checkpoint has to wait for that, nor does the WAL grow, as long as there is room for what is captured
   * and for what would be overwritten. `walGrownBytes`: since the reading began. False where it stands still.
   */
  async #followBeside(follower: WalFollower, walGrownBytes: number): Promise<boolean> {
    try {
      const head = follower.head();
      const isDue = follower.isMoveDue(head) || this.#schedule.isDue(follower.cursor.frames);
      if (!isDue) return true;
      if (!this.#isRoomBeside(follower, head, walGrownBytes)) return false;
      follower.keepBeside();
      if (!follower.mayLetGo) return false;
      await this.#captureMuch(follower);
      follower.move();
      this.#schedule.note(follower.framesTaken);
      if (!follower.mayLetGo) return true;
      await this.#checkpointMuch(follower);
      this.#checkpointIfDue(follower);
      return true;
    } catch (error) {
      // One that is gone from its name is read to its end all the same.
      if (!isBusy(error) && !(error instanceof Replaced)) throw error;
      return false;
    }
  }

  /** What scratch files hold, and will, stays within its limit, and leaves the disk as much as that takes. */
  #isRoomBeside(follower: WalFollower, head: WalIndexHead, walGrownBytes: number): boolean {
    const { besideBytes } = follower;
    const more = follower.bytesToMove(head);
    if (besideBytes + more > MOST_BESIDE_BYTES || isShortOfScratch()) return false;
    const grownBytes = besideBytes + (this.#share.isShared ? walGrownBytes : 0);
    return !isOutgrown(this.#settings.metaPath, grownBytes + 2 * more);
  }

  async #stand(follower: WalFollower, head: WalIndexHead, wal: WalReader): Promise<SnapshotReader> {
    try {
      return await follower.standAt(head, wal);
    } catch (error) {
      if (!(error instanceof Discontinuity)) throw error;
      this.#log.log('warn', 'frames of the WAL have no valid checksum, which old versions of SQLite can do', {
        db: this.#settings.path,
      });
      return follower.standAt(follower.beginBackfilled(), wal);
    }
  }

  /**
   * Begins anew with a comparison. If that fails, the follower stands nowhere, and is closed; where only the room for it is
   * missing, it goes on checkpointing until there is some.
   */
  async #beginAnew(follower: WalFollower): Promise<void> {
    try {
      await this.#compare(follower, follower.beginExactly());
    } catch (error) {
      if (!hasCode(error, ...DISK_FULL_CODES)) this.#detach();
      throw isBusy(error) ? new Hindered('the database is busy') : error;
    }
  }

  // ---- One look ----

  async #look(follower: WalFollower): Promise<void> {
    const asked = this.#waiters.length;
    await this.#checkStillThere(follower);
    if (!(await this.#resumeIfSuspended(follower))) return;
    await this.#orCompare(follower, async () => {
      const hadMuch = await this.#captureMuch(follower);
      if (hadMuch || follower.isMoveDue(follower.head())) follower.move();
      this.#schedule.note(follower.framesTaken);
      await this.#cutIfDue(follower);
    });
    if (follower.pending.count === 0) {
      for (const waiter of this.#waiters.splice(0, asked)) waiter.resolve(this.#maker.position?.txid);
    }
    await this.#orCompare(follower, async () => {
      await this.#checkpointMuch(follower);
      this.#checkpointIfDue(follower);
      this.#walWatch.look(follower);
      if (follower.rests && follower.pending.count === 0) this.#maker.notePlace(follower);
    });
    this.#room.check(follower);
  }

  async #orCompare(follower: WalFollower, part: () => Promise<void>): Promise<void> {
    try {
      await part();
    } catch (error) {
      if (!(error instanceof Discontinuity)) throw error;
      this.#log.log('info', 'comparing the database with the replica', { reason: error.message });
      await this.#beginAnew(follower);
    }
  }

  /** What a huge transaction wrote is copied, and stored, in slices: other databases of this thread get their turns in between. False: it was not much. */
  async #captureMuch(follower: WalFollower): Promise<boolean> {
    const isMuch = (head: WalIndexHead): boolean => follower.uncopied(head) * follower.pageSize > SLICE_BYTES;
    let head = follower.head();
    if (!isMuch(head)) return false;
    using wal = follower.openWal();
    // What comes in meanwhile can be much again.
    for (let rounds = SLICED_ROUNDS; rounds > 0 && isMuch(head); rounds--) {
      for (let what = 'some'; what !== 'all'; ) {
        what = follower.captureSome(head.mxFrame, SLICE_BYTES);
        if (what === 'file') await this.#maker.incrementInTurns(follower, wal);
        else await nextTurn();
      }
      head = follower.head();
    }
    return true;
  }

  /** A checkpoint is one call of SQLite: where it will take long, others do not wait for it. */
  async #checkpointMuch(follower: WalFollower): Promise<void> {
    if (!this.#thread.hasOthers() || !this.#isCheckpointDue(follower) || follower.backlogBytes <= BACKLOG_BYTES) return;
    // Where the disk failed, whoever opens its files anew does not hear of that.
    if (follower.checkpointFailure !== undefined) return;
    follower.move(); // it gets as far as the read stands
    await follower.checkpointElsewhere();
    if (await this.#captureMuch(follower)) follower.move();
  }

  async #checkStillThere(follower: WalFollower): Promise<void> {
    // Before anything is captured that is based on what the file holds.
    await this.#checkNotOverwritten(follower);
    const now = performance.now();
    // Who waits for all commits means those of the database that is there now.
    if (this.#waiters.length === 0 && now - this.#lastCheckMs < this.#settings.monitorIntervalMs) return;
    this.#lastCheckMs = now;
    if (!follower.stillThere) {
      const isThere = identify(this.#settings.path) !== undefined;
      throw new Replaced(isThere ? 'the database was replaced by another file' : 'the database was removed');
    }
    // However sure: a read that stood in the way after all would do so until the next commit.
    if (follower.rests) follower.move();
  }

  /** The files are gone from their names, but open here: what was committed to them is stored before they are let go. */
  async #keepLastCommits(follower: WalFollower): Promise<void> {
    // Nobody writes to it any more, and its files may be all there is of it.
    this.#share.leave();
    try {
      if (this.#room.suspended !== undefined) await this.#compare(follower, follower.beginExactly());
      else if (follower.stands) {
        await this.#captureMuch(follower);
        follower.capture();
      }
      await this.#cut(follower);
    } catch (error) {
      const message = `the last commits of ${this.#settings.path}, which was removed, could not be captured`;
      this.#log.log('warn', message, { error: messageOf(error) });
      this.#lost = new RivuletError({ code: 'NOT_STORED', message: `${message}: ${messageOf(error)}` });
    }
  }

  /** A copy over the open database is seen by nobody's SQLite; what would be captured from then on is neither of the two. */
  async #checkNotOverwritten(follower: WalFollower): Promise<void> {
    if (!follower.stands || (await follower.fileIsAsCaptured(this.#maker))) return;
    // Whoever has another WAL-index does not know of our read.
    if (!follower.stillThere) throw new Replaced('files of the database were replaced');
    const { path } = this.#settings;
    throw new RivuletError({
      code: OVERWRITTEN,
      message: `${path} was overwritten while it was open, by something other than SQLite`,
      kept: 'the replica holds the database as it was before; nothing of the new content was stored',
      next: `stop whatever uses it, remove ${path}-wal and ${path}-shm, put the new file there again, then start Rivulet`,
    });
  }

  async #cutIfDue(follower: WalFollower): Promise<void> {
    if (this.#msUntilCut <= 0 || this.#waiters.length > 0) await this.#cut(follower);
  }

  /** While a file is being stored, what comes in is gathered for the next one. */
  get #msUntilCut(): number {
    const intervalMs = this.#maker.isStored
      ? this.#settings.syncIntervalMs
      : Math.max(this.#settings.syncIntervalMs, GATHER_MS);
    return this.#maker.lastMs + intervalMs * CUT_AT - performance.now();
  }

  async #cut(follower: WalFollower): Promise<void> {
    const { pending, pageSize } = follower;
    if (pending.count === 0) return;
    using wal = follower.openWal();
    if (pending.count * pageSize > SLICE_BYTES) await this.#maker.incrementInTurns(follower, wal);
    else this.#maker.increment(follower, wal);
  }

  #isCheckpointDue(follower: WalFollower): boolean {
    return !follower.rests && this.#schedule.isDue(follower.cursor.frames);
  }

  #checkpointIfDue(follower: WalFollower): void {
    if (!this.#isCheckpointDue(follower)) return;
    const outcome = follower.handOver();
    this.#schedule.tried(outcome);
    this.#walWatch.tried(outcome, follower);
    if (outcome !== 'done') return;
    const { truncatePages } = this.#settings;
    const limit = frameOffset(truncatePages, follower.pageSize);
    if (truncatePages > 0 && follower.walFileBytes >= limit) {
      this.#log.log('debug', 'shrank the WAL', { done: follower.shrinkWal() });
    }
  }

  /** Compares and goes on, once there is room again; false while there is not. */
  async #resumeIfSuspended(follower: WalFollower): Promise<boolean> {
    if (this.#room.suspended === undefined) return true;
    if (!this.#hasRoom && !this.#room.mayResume(this.#stopping || this.#waiters.length > 0)) {
      this.#room.stay(follower);
      for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#suspension);
      return false;
    }
    await this.#beginAnew(follower);
    this.#room.resumed();
    return true;
  }

  get #suspension(): RivuletError {
    return new RivuletError({
      code: 'CAPTURE_SUSPENDED',
      message: `capture is suspended: ${this.#room.suspended}`,
    });
  }

  #giveUpIfAsked(): void {
    this.#room.giveUpIfAsked(this.#follower, (error) => {
      this.#lost = error;
    });
  }

  // ---- Waiting and ending ----

  async #wait(follower: WalFollower): Promise<void> {
    if (this.#room.suspended !== undefined) {
      await this.#lookout.pause(this.#keeper.lookMs);
    } else if (this.#lookout.isIdle(follower)) {
      const untilCutMs = follower.pending.count > 0 ? this.#msUntilCut : Number.POSITIVE_INFINITY;
      // What is compared little by little goes on at the next look.
      const isCompared = follower.isFileDoubtful && follower.pending.count === 0;
      const untilLookMs = isCompared ? this.#settings.monitorIntervalMs : untilCutMs;
      await this.#lookout.whileIdle(follower, Math.min(untilCutMs, untilLookMs));
      this.#lastCheckMs = Number.NEGATIVE_INFINITY; // it may have been an event of a file that is gone
    } else {
      await this.#lookout.whileBusy(follower, this.#msUntilCut);
    }
  }

  /** The last commits are those of the database that is there now. */
  async #attachForTheLast(): Promise<WalFollower> {
    if (this.#follower && !this.#follower.stillThere) {
      await this.#keepLastCommits(this.#follower);
      this.#detach();
    }
    return this.#follower ?? (await this.#attach());
  }

  /**
   * Leaves everything in the database file and an empty WAL, where nobody is in the way: whoever puts another database there finds nothing of
   * this one beside it. And where the next start goes on.
   */
  async #leave(follower: WalFollower): Promise<void> {
    try {
      for (let tries = 0; tries < LEAVE_TRIES && !(follower.rests && follower.shrinkWal()); tries++) {
        if (!follower.settle()) return;
        await this.#cut(follower);
      }
    } catch (error) {
      // What was committed before is in files; what came in since is in the WAL.
      if (!hasCode(error, ...DISK_FULL_CODES)) throw error;
      this.#log.log('warn', 'no room to capture what was committed last', { error: messageOf(error) });
    }
    for (let tries = 0; tries < LEAVE_TRIES && follower.fileVersion === undefined; tries++) {
      await this.#lookout.pause(LEAVE_PAUSE_MS);
    }
    if (follower.pending.count === 0) this.#maker.notePlace(follower);
  }

  /** The last look: whatever was committed until now goes into the spool, a first image or a comparison included. */
  async #finalCapture(): Promise<void> {
    try {
      this.#giveUpIfAsked();
      const follower = await this.#attachForTheLast();
      if (!(await this.#resumeIfSuspended(follower))) throw this.#suspension;
      try {
        await this.#checkNotOverwritten(follower);
        await this.#captureMuch(follower);
        follower.capture();
        await this.#cut(follower);
        await this.#checkNotOverwritten(follower);
      } catch (error) {
        if (!(error instanceof Discontinuity)) throw error;
        await this.#beginAnew(follower);
        follower.capture();
        await this.#cut(follower);
      }
      await this.#leave(follower);
    } catch (error) {
      // Where there is no database, there are no commits.
      if (!(error instanceof NotReady) || error instanceof Hindered) throw error;
    }
    if (this.#lost) throw this.#lost;
  }
}
