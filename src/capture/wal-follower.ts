import { atOnce, inTurns, pause } from '../base/async.ts';
import {
  claimDatabase,
  type FileIdentity,
  identify,
  identifyOpen,
  modifiedMsOfOpen,
  releaseDatabase,
  sameFile,
  sizeOfOpen,
} from '../base/database-files.ts';
import { hasCode } from '../base/errors.ts';
import type { WalPosition } from '../replica/local-state.ts';
import { isBusy } from '../sqlite/sqlite-error.ts';
import { frameOffset, frameSize, saltsEqual, WAL_HEADER_SIZE } from '../sqlite/wal.ts';
import { sameCommit, type WalIndexGlance, type WalIndexHead } from '../sqlite/wal-index.ts';
import { DatabaseHandles } from './connections.ts';
import { cursorFrom } from './continuation.ts';
import { FileProof, type KnownPages } from './file-proof.ts';
import type { CaptureGauges } from './gauges.ts';
import { Handover, type HandoverLimits, type HandoverOutcome } from './handover.ts';
import { Discontinuity, Hindered, NotReady, Replaced } from './interruptions.ts';
import { PageTable } from './page-table.ts';
import { PendingPages } from './pending-pages.ts';
import { newestFrames, SnapshotReader } from './snapshot-reader.ts';
import { WalIndexReader } from './wal-index-reader.ts';
import { type WalCursor, WalReader } from './wal-reader.ts';

/** Frames that a move leaves to others to sync, in bytes: few, and so many that everything else here would wait for too long. */
const LEFT_TO_SYNC = { few: 8 * 1024 * 1024, many: 128 * 1024 * 1024 } as const;
/** Compared at a look of a database file that somebody else wrote to. */
const COMPARED_AT_ONCE_BYTES = 32 * 1024 * 1024;
/** Kept in one go of what is read beside what happens. */
const KEPT_AT_ONCE_BYTES = 8 * 1024 * 1024;
/** Tries to begin a read under the barrier, where nothing but chance is in the way. */
const BEGIN_TRIES = 10;
const BEGIN_PAUSE_MS = 0.5;
/** Wait for the exclusive lock that shrinks the WAL. */
const TRUNCATE_PATIENCE_MS = 5;
/** Tries to begin a read transaction at a commit that is known exactly. */
const EXACT_READ_TRIES = 1000;
/** Read transactions that begin one after the other at rest before it counts as sure that one got read-lock 0. */
const SURE_READS = 3;

export interface FollowerSettings extends HandoverLimits {
  /** Bytes a page. */
  readonly pageSize: number;
  /** For what a huge transaction needs. */
  readonly scratchFolder: string;
  /** Ask for a cut at the next commit once this much WAL is pending; 0: no limit. */
  readonly maxPendingBytes: number;
}

/** Told by a follower in the middle of its work. */
export interface FollowerListener {
  /** Everything pending must be stored now, at the commit where the follower stands, before it goes on. */
  cut(wal: WalReader): void;
}

/**
 * Follows the WAL of one open database as one of its readers: copies every committed frame into {@link pending}, lets its
 * read transaction move on, and hands the WAL over for checkpoints, so that no commit is missed and none is invented. It
 * holds at least one read transaction at all times: while a reader uses the WAL, nobody can restart it.
 */
export class WalFollower {
  readonly #path: string;
  /** Of the file that was there when this process took it; see {@link stillThere}. */
  readonly identity: FileIdentity;
  readonly #settings: FollowerSettings;
  readonly #listener: FollowerListener;
  readonly #handles: DatabaseHandles;
  readonly #index: WalIndexReader;
  readonly #file: FileProof;
  readonly #handover: Handover;
  readonly #gauges: CaptureGauges;
  readonly pending: PendingPages;
  #pendingBytes = 0;
  #cursor: WalCursor = { salts: new Uint8Array(8), frames: 0, sums: undefined };
  #commit = 0;
  /** The cursor is in the middle of a transaction, which is committed. */
  #isInside = false;
  #fewestPages = 0;
  #stands = false;
  #cutFrame = 0;
  /** Frames of the cursor's generation that were synced. */
  #syncedFrame = 0;
  #syncFailure: string | undefined;
  /**
   * True when the standing reader began while the WAL was fully backfilled at the cursor. It may then stand on read-lock 0:
   * the WAL can be restarted, but nothing that comes after can reach the database before the reader moves.
   */
  #restartable = false;
  /** Read transactions begun in a row in that state. */
  #restingReads = 0;
  /** See {@link FileStamp.foreignWrites}: of what is compared. */
  #comparedWrites = 0;
  /** It was so when the file was looked at last, and has been since. */
  #restedSurely = false;
  #framesTaken = 0;
  /** What is being read beside what happens. */
  #beside: SnapshotReader | undefined;

  /** Takes the database for this process, and opens it. Throws NotReady while it is busy, or taken away. */
  constructor(path: string, settings: FollowerSettings, listener: FollowerListener, gauges: CaptureGauges) {
    this.#path = path;
    this.#settings = settings;
    this.#listener = listener;
    this.#gauges = gauges;
    this.identity = claimDatabase(path);
    try {
      this.#handles = new DatabaseHandles(path);
    } catch (error) {
      releaseDatabase(this.identity);
      if (isBusy(error)) throw new Hindered('the database is busy');
      // Another one is being put in its place: SQLite has just made what is missing.
      if (hasCode(error, 'ENOENT')) throw new Hindered('files of the database were removed while it was opened');
      throw error;
    }
    this.#index = new WalIndexReader(this.#handles);
    this.#file = new FileProof(this.#handles.databaseFd, settings.pageSize);
    this.#handover = new Handover(this, this.#handles, settings, gauges);
    this.pending = new PendingPages(settings.pageSize, settings.scratchFolder);
  }

  get pageSize(): number {
    return this.#settings.pageSize;
  }

  /** Everything up to here is stored or pending. */
  get cursor(): WalCursor {
    return this.#cursor;
  }

  /** False in the middle of a transaction, see {@link captureSome}. */
  get standsAtCommit(): boolean {
    return !this.#isInside;
  }

  /** Pages in the database at the cursor. */
  get commit(): number {
    return this.#commit;
  }

  /** Bytes of the database at the cursor; while it has not stood anywhere, as it is now. */
  get databaseBytes(): number {
    return (this.#commit || this.#pagesAt(this.head())) * this.pageSize;
  }

  /** Pages that the database had all the time since the last file: those beyond them may have gone, and come back. */
  get fewestPages(): number {
    return this.#fewestPages;
  }

  /** The database file, as a saved position names it. */
  get fileName(): string {
    return this.#file.fileName;
  }

  /** What is in the database file, as a saved position names it. */
  get fileVersion(): string | undefined {
    return this.#file.version;
  }

  /** False when the file that was opened is another than the one whose page size was asked for. */
  get hasItsPageSize(): boolean {
    return this.#file.pageSize === this.pageSize;
  }

  /** Frame of the cursor's generation from which on nothing is stored yet. */
  get cutFrame(): number {
    return this.#cutFrame;
  }

  /** Why the disk did not take the last checkpoint, or sync; undefined when it did. */
  get checkpointFailure(): string | undefined {
    return this.#handover.failure ?? this.#syncFailure;
  }

  /** Frames that were captured so far. */
  get framesTaken(): number {
    return this.#framesTaken;
  }

  /** Bytes of the WAL that were captured so far. */
  get bytesTaken(): number {
    return this.#framesTaken * frameSize(this.pageSize);
  }

  get databaseFd(): number {
    return this.#handles.databaseFd;
  }

  /** The standing read may be on read-lock 0: no checkpoint gets anywhere while it is. */
  get mayRest(): boolean {
    return this.#restartable;
  }

  /** The standing read rests where the application can restart and truncate the WAL at once. */
  get rests(): boolean {
    return this.#restartable && this.isCaught(this.head());
  }

  /**
   * It rests, and surely so: SQLite gives another lock than read-lock 0 in the instant in which a checkpoint is ending. On
   * that one the application's RESTART and TRUNCATE would wait for us, with the write lock in their hands.
   */
  get restsSurely(): boolean {
    return this.rests && this.#restingReads >= SURE_READS;
  }

  head(): WalIndexHead {
    return this.#index.read();
  }

  /** What the head seems to be, for deciding when to look; valid until the next glance. */
  glance(): WalIndexGlance {
    return this.#index.glance();
  }

  /** For how long nobody wrote to the WAL, as the file system's clock has it, which is exact to some milliseconds. */
  get unwrittenMs(): number {
    return Date.now() - modifiedMsOfOpen(this.#handles.walFd);
  }

  /** True when every committed frame is captured. */
  isCaught(head: WalIndexGlance): boolean {
    return saltsEqual(head.salts, this.#cursor.salts) && head.mxFrame === this.#cursor.frames;
  }

  /** Committed frames that are not captured. */
  uncopied(head: WalIndexGlance): number {
    const from = saltsEqual(head.salts, this.#cursor.salts) ? this.#cursor.frames : 0;
    return Math.max(0, head.mxFrame - from);
  }

  /**
   * Whether {@link move} is worth it: there are new commits, or somebody else's checkpoint has backfilled the whole WAL. The reader
   * then gets read-lock 0, and the application's RESTART or TRUNCATE, which waits for that with the write lock in its hands,
   * goes on.
   */
  isMoveDue(head: WalIndexGlance): boolean {
    return !this.isCaught(head) || (head.backfilled === head.mxFrame && !this.restsSurely);
  }

  /** So many checkpoints of ours were made. */
  get checkpoints(): number {
    return this.#handles.checkpoints;
  }

  openWal(): WalReader {
    return new WalReader(this.#handles.walFd, this.pageSize);
  }

  /** Everything up to the cursor is stored or pending, and what comes next can be captured. */
  get stands(): boolean {
    return this.#stands;
  }

  /** Closes what is not needed while nothing happens. */
  rest(): void {
    this.#handles.rest();
  }

  /** The files under these names are still the ones that are open. Somebody may have put another database there. */
  get stillThere(): boolean {
    const same = (file: string, fd: number): boolean => sameFile(identify(file), identifyOpen(fd));
    const { walIndexFd, walFd } = this.#handles;
    return (
      sameFile(identify(this.#path), this.identity) &&
      same(`${this.#path}-shm`, walIndexFd) &&
      same(`${this.#path}-wal`, walFd)
    );
  }

  /** The same where it is known to hold what was captured. */
  get provenVersion(): string | undefined {
    return this.isFileDoubtful ? undefined : this.fileVersion;
  }

  /** Somebody else than our checkpoints wrote to the database file, and it was not found right since. */
  get isFileDoubtful(): boolean {
    return this.#handles.stamp.isDoubtful;
  }

  /**
   * False when the database file was written to past SQLite: it does not hold what was captured. It is looked at while the standing read
   * surely rests: no checkpoint can reach the file then, so what was written since is wrong or nothing, and all of it is compared.
   * What somebody wrote before is most likely a checkpoint, and it is compared little by little.
   */
  async fileIsAsCaptured(known: KnownPages): Promise<boolean> {
    const { stamp } = this.#handles;
    const couldWrite = !this.#restedSurely;
    const isWritten = stamp.look();
    this.#restedSurely = this.#restartable && this.#restingReads >= SURE_READS;
    if (stamp.foreignWrites !== this.#comparedWrites) this.#file.restart();
    this.#comparedWrites = stamp.foreignWrites;
    const isAtRest = isWritten && !couldWrite;
    // Of what is pending it is not known here what the file should hold.
    const isKnown = this.pending.count === 0;
    if (!this.#restedSurely || !stamp.isDoubtful || !(isAtRest || isKnown)) return true;
    const bytes = isAtRest ? Number.POSITIVE_INFINITY : COMPARED_AT_ONCE_BYTES;
    // Pages beyond that came since, or came back.
    const pages = { pageCount: Math.min(known.pageCount, this.#fewestPages), hashOf: known.hashOf.bind(known) };
    const found = await inTurns(this.#file.compare(pages, this.pending, bytes));
    if (found === 'right' && isKnown && this.pending.count === 0) stamp.trust();
    return found !== 'wrong';
  }

  /** Everything pending is stored. */
  markStored(): void {
    this.pending.clear();
    this.#pendingBytes = 0;
    this.#fewestPages = this.#commit;
    this.#cutFrame = this.#cursor.frames;
  }

  /** Forgets what is pending and ends the standing read: the follower is of no use before {@link beginExactly}. */
  letGo(): void {
    this.pending.clear();
    this.#pendingBytes = 0;
    this.#noteRestartable(false);
    this.#isInside = false;
    this.#stands = false;
    this.#handles.endReads();
  }

  [Symbol.dispose](): void {
    try {
      this.#handles.close();
      this.pending.clear();
    } finally {
      releaseDatabase(this.identity);
    }
  }

  // ---- Beginning ----

  /** Begins the standing read at a commit that is known exactly: the WAL-index says the same before and after. */
  beginExactly(): WalIndexHead {
    this.letGo();
    const { reader } = this.#handles;
    for (let attempt = 0; attempt < EXACT_READ_TRIES; attempt++) {
      const before = this.head();
      reader.beginRead();
      const after = this.head();
      if (sameCommit(before, after)) return after;
      reader.end();
    }
    throw new Hindered('commits come too fast to start reading between two of them');
  }

  /**
   * Goes on from a saved position if it can be shown that nothing was missed since. The standing read has begun at `head`.
   * Nobody wrote to the database file since, so no checkpoint was made that had anything to do; and no WAL is begun anew while it holds
   * what is not in the database file.
   */
  async continueFrom(saved: WalPosition, known: KnownPages, head: WalIndexHead): Promise<boolean> {
    if (saved.file !== this.fileName || saved.version === undefined || saved.version !== this.fileVersion) return false;
    using wal = this.openWal();
    const cursor = await cursorFrom(saved, head, wal);
    if (!cursor || !(await this.#fileHoldsBeside(known, head, wal))) return false;
    this.#cursor = cursor;
    this.#commit = known.pageCount;
    this.#fewestPages = known.pageCount;
    this.#cutFrame = cursor.frames;
    this.#syncedFrame = head.backfilled;
    this.#handles.stamp.look();
    this.#handles.stamp.trust();
    this.#stands = true;
    this.#restartable = head.mxFrame === head.backfilled && head.mxFrame === cursor.frames;
    return true;
  }

  /**
   * Looks at some pages that no frame of the WAL holds: they are in the file as they were captured. Another database can
   * have been copied over it, which left the WAL as it was.
   */
  async #fileHoldsBeside(known: KnownPages, head: WalIndexHead, wal: WalReader): Promise<boolean> {
    using frames = await inTurns(newestFrames(wal, head.salts, head.mxFrame, this.#settings.scratchFolder));
    return frames !== undefined && this.#file.holds(known, frames);
  }

  /**
   * Begins the standing read where the whole WAL is backfilled, for when its frames do not prove themselves: older
   * SQLites (seen: 3.40.1) leave committed frames without checksums when a cache spills before a ROLLBACK TO. SQLite trusts
   * the WAL-index; so its own checkpoint, behind a barrier, brings them into the database file, where they need no proof.
   */
  beginBackfilled(): WalIndexHead {
    this.letGo();
    const { barrier, reader } = this.#handles;
    if (!this.#handover.raiseBarrier()) throw new Hindered('the database is busy');
    const since = performance.now();
    try {
      this.#handles.checkpoint('PASSIVE');
      reader.beginRead();
      const head = this.head();
      if (head.backfilled === head.mxFrame) return head;
      throw new Hindered('the WAL does not prove itself, and another reader keeps it from being checkpointed');
    } finally {
      barrier.end();
      this.#gauges.addBarrier(performance.now() - since);
    }
  }

  /** Stands at `head`, where the standing read has begun, and gives the database as of there to read. */
  async standAt(head: WalIndexHead, wal: WalReader): Promise<SnapshotReader> {
    this.#cursor = { salts: head.salts, frames: head.mxFrame, sums: head.mxFrame > 0 ? head.sums : undefined };
    this.#cutFrame = head.mxFrame;
    this.#syncedFrame = head.backfilled;
    this.#restartable = head.backfilled === head.mxFrame;
    this.#commit = this.#pagesAt(head);
    if (this.#commit === 0) throw new NotReady('the database is empty');
    this.#fewestPages = this.#commit;
    this.#handles.stamp.look();
    this.#handles.stamp.trust(); // all of it will be read
    // Frames that are backfilled are in the file, and the WAL may be restarted over them; others are held by the read.
    const { scratchFolder } = this.#settings;
    const frames = this.#restartable
      ? new PageTable(scratchFolder)
      : await inTurns(newestFrames(wal, head.salts, head.mxFrame, scratchFolder));
    if (!frames) throw new Discontinuity('the WAL does not prove itself');
    this.#stands = true;
    return this.#readerOf(wal, frames);
  }

  #readerOf(wal: WalReader, frames: PageTable): SnapshotReader {
    const { databaseFd } = this.#handles;
    try {
      return new SnapshotReader({ databaseFd, wal, pageCount: this.#commit, frames }, this.#settings.scratchFolder);
    } catch (error) {
      frames[Symbol.dispose]();
      throw error;
    }
  }

  #pagesAt({ mxFrame, pageCount }: WalIndexHead): number {
    return mxFrame > 0 ? pageCount : Math.floor(sizeOfOpen(this.#handles.databaseFd) / this.pageSize);
  }

  /** Pages as of the cursor that are not pending: free pages by which the database grew without writing them. */
  unwrittenPages(pgnos: ReadonlySet<number>, wal: WalReader): SnapshotReader {
    using scan = this.openWal(); // `wal` may hold frames that are still being looked at
    const { salts, frames: until } = this.#cursor;
    const { scratchFolder } = this.#settings;
    const frames = atOnce(newestFrames(scan, salts, until, scratchFolder, pgnos));
    if (!frames) throw new Discontinuity('the WAL does not prove itself');
    return this.#readerOf(wal, frames);
  }

  // ---- Following ----

  /**
   * `snapshot` is read beside what happens from now on, undefined: no more. What is captured meanwhile is pending until then, whatever it
   * takes, and the read can move all the same, see {@link mayLetGo}.
   */
  readBeside(snapshot: SnapshotReader | undefined): void {
    this.#beside = snapshot;
    this.pending.needsNoWal = snapshot !== undefined;
  }

  /** False while pages are still to be read that would be gone with the read, see {@link keepBeside}. */
  get mayLetGo(): boolean {
    return this.#unkeptBytes === 0;
  }

  get #unkeptBytes(): number {
    return this.#beside?.unkeptBytes(this.#fewestPages) ?? 0;
  }

  /** Copies some of them into a scratch file. */
  keepBeside(): void {
    this.#beside?.keepSome(this.#fewestPages, KEPT_AT_ONCE_BYTES);
  }

  /** Bytes by which scratch files grow until the read has moved to `head`: what comes in, as it was and as it is, and what is to be kept. */
  bytesToMove(head: WalIndexHead): number {
    return this.#unkeptBytes + 2 * this.uncopied(head) * this.pageSize;
  }

  /** Bytes in scratch files because something is read beside what happens. */
  get besideBytes(): number {
    return this.pending.scratchBytes + (this.#beside?.keptBytes ?? 0);
  }

  /** Lets the standing reader move to the newest commit: the new read transaction begins before the old one ends. */
  move(): void {
    const { twin, reader } = this.#handles;
    twin.beginRead();
    let head: WalIndexHead;
    try {
      // Still under the old transaction: whatever the new one stands on is captured before the old one lets go.
      head = this.capture();
      if (!this.mayLetGo) {
        twin.end();
        return;
      }
      this.#syncIfMuch();
    } catch (error) {
      twin.end();
      throw error;
    }
    reader.end();
    this.#handles.swapReaders();
    // As of the commit that was captured, not as of now: a writer may restart the WAL the moment the old read ends. With the
    // new read held, the WAL can be backfilled up to that commit only if the read began there.
    this.#noteRestartable(head.backfilled === head.mxFrame);
  }

  /**
   * A move sets frames free for checkpoints, and the application's automatic one comes with the next commit, which would wait until
   * all of them are synced. Writers do not wait for this sync, but there is no time for it when the WAL must not grow any more.
   */
  #syncIfMuch(): void {
    const { frames } = this.#cursor;
    const bytes = (frames - this.#syncedFrame) * frameSize(this.pageSize);
    if (bytes <= LEFT_TO_SYNC.few) this.#syncFailure = undefined;
    if (bytes <= LEFT_TO_SYNC.few || bytes > LEFT_TO_SYNC.many || frames >= this.#settings.urgentFrames) return;
    this.#syncFailure = this.#handles.syncWal();
    if (this.#syncFailure === undefined) this.#syncedFrame = frames;
  }

  /** Begins the read anew, which was ended under a barrier: nobody has committed since. */
  beginAgain(): void {
    for (let tries = BEGIN_TRIES; !this.#hasBegunAgain(tries <= 1); tries--) pause(BEGIN_PAUSE_MS);
    const head = this.head();
    this.#noteRestartable(head.backfilled === head.mxFrame && this.isCaught(head));
  }

  #hasBegunAgain(isLast: boolean): boolean {
    try {
      this.#handles.reader.beginRead();
      return true;
    } catch (error) {
      if (isLast || !isBusy(error)) throw error;
      return false;
    }
  }

  #noteRestartable(restartable: boolean): void {
    this.#restingReads = restartable ? this.#restingReads + 1 : 0;
    if (!restartable) this.#restedSurely = false;
    this.#restartable = restartable;
  }

  /**
   * Copies every committed frame after the cursor into the pending pages, and asks for cuts where they are due. Returns
   * what the WAL-index said: the cursor stands at its end.
   */
  capture(): WalIndexHead {
    const head = this.#nextHead();
    if (head.mxFrame === this.#cursor.frames) return head;
    using wal = this.openWal();
    while (this.#cursor.frames < head.mxFrame) if (this.#takeNext(wal, head.mxFrame)) this.#listener.cut(wal);
    // Pages that are only known by their frame must be stored before the reader lets the WAL go.
    if (this.pending.holdsFrames) this.#listener.cut(wal);
    return head;
  }

  /**
   * Copies committed frames up to frame count `until`, but not many more than `bytes` of them: one transaction can be larger than that. Then
   * the follower stands in the middle of it. `file`: everything pending must be stored before it goes on.
   */
  captureSome(until: number, bytes: number): 'some' | 'file' | 'all' {
    this.#nextHead();
    using wal = this.openWal();
    const most = Math.min(until, this.#cursor.frames + Math.ceil(bytes / frameSize(this.pageSize)));
    while (this.#cursor.frames < most) if (this.#takeNext(wal, most)) return 'file';
    if (most < until) return 'some';
    return this.pending.holdsFrames ? 'file' : 'all';
  }

  #nextHead(): WalIndexHead {
    const head = this.head();
    this.#followGeneration(head);
    if (head.mxFrame < this.#cursor.frames) throw new Discontinuity('the WAL became shorter');
    return head;
  }

  /** True at a commit at which everything pending must be stored. */
  #takeNext(wal: WalReader, until: number): boolean {
    const next = this.#read(wal, until);
    // Still under the old read: once it ends, they can be overwritten in the database file, and others in the WAL.
    this.#beside?.keep(new Set(Array.from({ length: wal.count }, (_, i) => wal.pgno(i))));
    return this.#take(wal, next);
  }

  #read(wal: WalReader, until: number): WalCursor {
    const next = wal.read(this.#cursor, until);
    if (typeof next !== 'string') return next;
    throw new Discontinuity(`the WAL does not carry on after frame ${this.#cursor.frames}`);
  }

  /** After a restart of the WAL its salts differ. Nothing was missed only if the reader stood where it could not be. */
  #followGeneration(head: WalIndexHead): void {
    if (saltsEqual(head.salts, this.#cursor.salts)) return;
    if (!this.#restartable) throw new Discontinuity('the WAL was restarted by somebody else');
    this.#cursor = { salts: head.salts, frames: 0, sums: undefined };
    this.#cutFrame = 0;
    this.#syncedFrame = 0;
  }

  /** Takes what was read, up to a commit at which everything pending must be stored: true then. */
  #take(wal: WalReader, next: WalCursor): boolean {
    const { maxPendingBytes } = this.#settings;
    this.#noteRestartable(false);
    for (let i = 0; i < wal.count; i++) {
      this.pending.put(wal, i);
      this.#framesTaken++;
      this.#pendingBytes += frameSize(this.pageSize);
      const commit = wal.commit(i);
      this.#isInside = commit === 0;
      if (commit === 0) continue;
      // Pages beyond it that come back later must be stored anew, not found as they were, here or in an older file.
      if (commit < this.#commit) this.pending.dropBeyond(commit);
      this.#commit = commit;
      this.#fewestPages = Math.min(this.#fewestPages, commit);
      if (maxPendingBytes === 0 || this.#pendingBytes < maxPendingBytes || this.#beside) continue;
      this.pending.copy(wal);
      this.#cursor = { salts: next.salts, frames: wal.first + i + 1, sums: wal.sums(i) };
      return true;
    }
    this.pending.copy(wal);
    this.#cursor = next;
    return false;
  }

  /** Has a file made now if less than so many bytes could still be copied without one: true then. */
  makeRoom(bytes: number): boolean {
    if (this.pending.room * this.pageSize >= bytes) return false;
    using wal = this.openWal();
    this.#listener.cut(wal);
    return true;
  }

  // ---- Checkpoints ----

  /** Hands the whole WAL to the database file, see {@link Handover.run}. */
  handOver(): HandoverOutcome {
    return this.#handover.run();
  }

  /** Bytes of the WAL that a checkpoint has to bring into the database file, as far as the standing read lets it. */
  get backlogBytes(): number {
    const { mxFrame, backfilled } = this.head();
    return Math.max(0, Math.min(mxFrame, this.#cursor.frames) - backfilled) * frameSize(this.pageSize);
  }

  /** Brings what it can of the WAL into the database file, for a reading of all pages: they come from there then. */
  async backfill(elsewhere: boolean): Promise<void> {
    try {
      if (elsewhere) await this.#handles.checkpointElsewhere();
      else this.#handles.checkpoint('PASSIVE');
    } catch (error) {
      if (!(error instanceof Replaced)) throw error; // one that is gone from its name is read as it is
    }
  }

  /** Has a checkpoint made by another thread: this one goes on with other databases. False: somebody else was making one. */
  async checkpointElsewhere(): Promise<boolean> {
    const { busy, failure } = await this.#handles.checkpointElsewhere();
    if (failure !== undefined) this.#syncFailure = failure;
    return !busy || failure !== undefined;
  }

  /** Bytes of the WAL file. */
  get walFileBytes(): number {
    return sizeOfOpen(this.#handles.walFd);
  }

  /**
   * Makes the WAL file empty. With our reader on read-lock 0 this succeeds only if there is no unseen commit: otherwise it
   * would need that lock for itself, and is busy.
   */
  shrinkWal(): boolean {
    const { checkpointer } = this.#handles;
    if (this.walFileBytes <= WAL_HEADER_SIZE) return true;
    checkpointer.patience(TRUNCATE_PATIENCE_MS);
    const since = performance.now();
    const { busy } = this.#handles.checkpoint('TRUNCATE'); // with the write lock
    this.#gauges.addBarrier(performance.now() - since);
    checkpointer.patience(0);
    return !busy;
  }

  /**
   * Brings what is captured into the database file, as the application's own last close would have done; commits that come in
   * meanwhile are pending then. False where something is in the way: the commits are captured, and in the WAL.
   */
  settle(): boolean {
    try {
      this.move();
      this.#handles.checkpoint('PASSIVE');
      this.move();
      return true;
    } catch (error) {
      if (!isBusy(error) && !(error instanceof Discontinuity)) throw error;
      return false;
    }
  }

  /** See {@link Handover.clear}: for times when nothing is captured. */
  clearWal(truncates: boolean): HandoverOutcome {
    return this.#handover.clear(truncates);
  }

  /** Where the pending frames start in the WAL file, and how many bytes of it they are. */
  pendingRange(): { readonly offset: bigint; readonly size: bigint; readonly salt1: number; readonly salt2: number } {
    return {
      offset: BigInt(frameOffset(this.#cutFrame, this.pageSize)),
      size: BigInt((this.#cursor.frames - this.#cutFrame) * frameSize(this.pageSize)),
      ...this.salts(),
    };
  }

  salts(): { readonly salt1: number; readonly salt2: number } {
    const bytes = Buffer.from(this.#cursor.salts);
    return { salt1: bytes.readUInt32BE(0), salt2: bytes.readUInt32BE(4) };
  }
}
