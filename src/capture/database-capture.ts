import * as fs from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Backoff } from '../base/async.ts';
import { claimDatabase, type FileIdentity, identify, releaseDatabase, sameFile } from '../base/database-files.ts';
import { DISK_FULL_CODES, hasCode, messageOf, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { formatTxid, type Txid, txid } from '../base/types.ts';
import type { WalRange } from '../ltx/format.ts';
import { PageBatch } from '../ltx/page-batch.ts';
import type { LocalPosition, WalPosition } from '../replica/local-state.ts';
import { StateJournal, spoolPathFor } from '../replica/local-state.ts';
import { type HashChanges, PageHashes } from '../replica/page-hashes.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';
import { frameOffset, frameSize, saltsEqual, WAL_HEADER_SIZE, type WalSums } from '../sqlite/wal.ts';
import { sameCommit, type WalIndexHead } from '../sqlite/wal-index.ts';
import { DatabaseHandles, isBusy } from './connections.ts';
import { inspectDatabase } from './inspect.ts';
import { type L0Kind, L0Writer, prepareSpool, removeSpooled, type SpooledFile } from './l0-writer.ts';
import type { CaptureListener, CaptureSettings, StartingPoint } from './options.ts';
import { PendingPages } from './pending-pages.ts';
import { newestFrames, SnapshotReader } from './snapshot-reader.ts';
import { Waker } from './waker.ts';
import { WalIndexReader } from './wal-index-reader.ts';
import { type WalCursor, WalReader } from './wal-reader.ts';

/** While commits arrive: how often to look, and so how long one read transaction stands at most. */
const ACTIVE_POLL_MS = 25;
/** Without commits for this long, the WAL is backfilled and the reader rests on read-lock 0. */
const QUIET_MS = 400;
/** Without commits for this long, wait for a file-system event instead of looking every {@link ACTIVE_POLL_MS}. */
const IDLE_MS = 1000;
/** Part of the sync interval after which a file is cut: the rest is for writing and storing it. */
const CUT_AT = 0.8;
/** First and longest wait for the barrier's lock; grows with every refusal, so that a busy writer cannot starve it. */
const BARRIER_PATIENCE_MS = { first: 2, most: 50 } as const;
/** Wait for the exclusive lock that shrinks the WAL. */
const TRUNCATE_PATIENCE_MS = 5;
/** Pause after a handover that another reader kept from being complete. */
const PARTIAL_HANDOVER_PAUSE_MS = 1000;
/** Pages read in one go before other work of the thread gets its turn, in bytes. */
const TURN_BYTES = 8 * 1024 * 1024;
/** Pauses between tries after an error. */
const RETRY_MS = { first: 500, most: 60_000 } as const;
/** Tries to begin a read transaction at a commit that is known exactly. */
const EXACT_READ_TRIES = 1000;

/** Something happened that breaks the chain from the last captured frame; a comparison with the replica mends it. */
class Discontinuity extends Error {}

/** The database is not there, or not ready; look again later. */
class NotReady extends Error {}

/** Somebody waits for everything up to now to be in the spool. */
interface Waiter {
  readonly resolve: (txid: Txid | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Captures one live WAL database into L0 files, as one of its readers, without a gap and without writing to it. The steps
 * follow the bytes: look at the WAL-index, copy new frames ({@link #captureFrames}), let the reader move on
 * ({@link #moveReader}), write an L0 file ({@link #cut}), hand the WAL over for a checkpoint ({@link #handover}).
 */
export class DatabaseCapture {
  readonly #settings: CaptureSettings;
  readonly #listener: CaptureListener;
  readonly #log: Logger;
  readonly #journal: StateJournal;
  readonly #spoolPath: string;
  readonly #waker: Waker;
  readonly #retry = new Backoff(RETRY_MS.first, RETRY_MS.most);
  readonly #waiters: Waiter[] = [];
  /** Files in the spool, oldest first. */
  readonly #inSpool: { readonly txid: bigint; readonly path: string }[] = [];

  #hashes: PageHashes;
  #position: LocalPosition | undefined;
  #unstoredBytes: number;
  #stopping = false;
  #suspended: string | undefined;

  #handles: DatabaseHandles | undefined;
  #identity: FileIdentity | undefined;
  #index: WalIndexReader | undefined;
  #pageSize = 0;

  /** Everything up to here is in L0 files or in `#pending`. */
  #cursor: WalCursor = { salts: new Uint8Array(8), frames: 0, sums: undefined };
  /** Pages in the database at the cursor. */
  #commit = 0;
  /** Frame of the cursor's generation at which the next L0 file starts. */
  #cutFrame = 0;
  /** WAL bytes in `#pending`. */
  #pendingBytes = 0;
  #pending = new PendingPages(512);
  /**
   * True when the standing reader began while the WAL was fully backfilled at the cursor. It may then stand on read-lock 0:
   * the WAL can be restarted, but nothing that comes after can reach the database before the reader moves.
   */
  #restartable = false;

  #lastFrameMs = 0;
  #lastCutMs = 0;
  #lastHandoverMs = 0;
  #lastLookMs = 0;
  #handoverNotBeforeMs = 0;
  #patienceMs: number = BARRIER_PATIENCE_MS.first;

  constructor(settings: CaptureSettings, start: StartingPoint, listener: CaptureListener, log: Logger) {
    this.#settings = settings;
    this.#listener = listener;
    this.#log = log;
    this.#hashes = new PageHashes(start.pageCount, start.hashMemory);
    this.#position = start.position;
    this.#unstoredBytes = start.spooledBytes;
    this.#journal = new StateJournal(settings.metaPath);
    this.#spoolPath = spoolPathFor(settings.metaPath);
    this.#waker = new Waker(`${settings.path}-wal`);
  }

  /** Runs until {@link stop}; the last commits are then in the spool. Throws only what cannot be tried again. */
  async run(): Promise<void> {
    this.#inSpool.push(...prepareSpool(this.#spoolPath, this.#position?.txid ?? 0n));
    try {
      while (!this.#stopping) await this.#attempt();
      await this.#finalCapture();
    } finally {
      this.#detach();
      this.#journal.close();
      for (const waiter of this.#waiters.splice(0)) waiter.resolve(this.#position?.txid);
    }
  }

  /** Resolves once every commit that was made before the call is in the spool, with the newest TXID. */
  sync(): Promise<Txid | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#waker.wake();
    });
  }

  /** Says that a file is in the store: its room in the spool is given back. */
  stored(file: SpooledFile): void {
    this.#unstoredBytes = Math.max(0, this.#unstoredBytes - file.sizeBytes);
    // The newest stored file stays: it proves at the next start that the replica is the one that we wrote.
    for (let oldest = this.#inSpool[0]; oldest && oldest.txid < file.txid; oldest = this.#inSpool[0]) {
      removeSpooled(oldest.path);
      this.#inSpool.shift();
    }
    if (this.#suspended !== undefined) this.#waker.wake();
  }

  stop(): void {
    this.#stopping = true;
    this.#waker.wake();
  }

  async #attempt(): Promise<void> {
    try {
      if (!this.#handles) await this.#attach();
      await this.#look();
      this.#retry.reset();
      await this.#waker.wait(this.#waitMs(), this.#isIdle() ? () => !this.#isCaptured(this.#head()) : undefined);
    } catch (error) {
      await this.#recover(error);
    }
  }

  async #recover(error: unknown): Promise<void> {
    if (error instanceof NotReady) {
      this.#detach();
      this.#listener.state({ kind: 'waiting', reason: error.message });
      for (const waiter of this.#waiters.splice(0)) waiter.resolve(undefined);
      await this.#waker.wait(this.#settings.monitorIntervalMs);
      return;
    }
    if (isBusy(error) && this.#handles) {
      await this.#waker.wait(ACTIVE_POLL_MS);
      return;
    }
    if (hasCode(error, ...DISK_FULL_CODES)) {
      this.#suspend(`no room for local files: ${messageOf(error)}`);
      if (this.#handles) this.#keepCheckpointing();
    } else {
      this.#detach();
      this.#listener.state({ kind: 'failed', error });
    }
    this.#rejectWaiters(error);
    await this.#waker.wait(this.#retry.next());
  }

  // ---- Attaching and letting go ----

  async #attach(): Promise<void> {
    const { path, setWal, busyTimeoutMs } = this.#settings;
    const found = inspectDatabase(path, setWal, Math.min(busyTimeoutMs, BARRIER_PATIENCE_MS.most));
    if (found.kind === 'not-ready') throw new NotReady(found.reason);
    if (found.switchedToWal) this.#log.log('info', 'switched the database to WAL mode', { db: path });
    this.#checkPageSize(found.pageSize);
    this.#identity = claimDatabase(path);
    try {
      this.#handles = new DatabaseHandles(path);
    } catch (error) {
      this.#detach();
      if (isBusy(error)) throw new NotReady('the database is busy');
      throw error;
    }
    this.#index = new WalIndexReader(this.#handles);
    this.#pageSize = found.pageSize;
    this.#pending = new PendingPages(found.pageSize);
    this.#pendingBytes = 0;
    this.#lastLookMs = Date.now();
    const head = this.#beginExactly();
    this.#listener.state({ kind: 'attached' });
    if (this.#continues(head))
      this.#log.log('info', 'continuing where the last run stopped', { txid: this.#txidText() });
    else await this.#compare(head);
  }

  #checkPageSize(pageSize: number): void {
    const position = this.#position;
    if (position && position.pageSize !== pageSize) {
      throw new RivuletError({
        code: 'PAGE_SIZE_CHANGED',
        message:
          `${this.#settings.path} has pages of ${pageSize} bytes, but its replica ${position.replicaUrl} ` +
          `holds pages of ${position.pageSize}`,
        kept: 'the database and the replica are as they were',
        next: 'replicate to a new path; the old one can still be restored',
      });
    }
  }

  #detach(): void {
    this.#handles?.close();
    this.#handles = undefined;
    this.#index = undefined;
    this.#pending.release();
    this.#pendingBytes = 0;
    if (this.#identity) releaseDatabase(this.#identity);
    this.#identity = undefined;
  }

  get #open(): DatabaseHandles {
    if (!this.#handles) throw new NotReady('the database is not open');
    return this.#handles;
  }

  #head(): WalIndexHead {
    if (!this.#index) throw new NotReady('the database is not open');
    return this.#index.read();
  }

  /** Begins the standing read at a commit that is known exactly: the WAL-index says the same before and after. */
  #beginExactly(): WalIndexHead {
    const { reader } = this.#open;
    for (let attempt = 0; attempt < EXACT_READ_TRIES; attempt++) {
      const before = this.#head();
      reader.beginRead();
      const after = this.#head();
      if (sameCommit(before, after)) return after;
      reader.end();
    }
    throw new NotReady('commits come too fast to start reading between two of them');
  }

  /** Takes up the saved position if it can be shown that nothing was missed since. The standing read is held. */
  #continues(head: WalIndexHead): boolean {
    const saved = this.#position?.wal;
    // Without a captured frame there is nothing to recognize this generation by: a new WAL looks the same.
    if (!saved || saved.frames === 0 || !this.#position) return false;
    const salts = Uint8Array.from(Buffer.from(saved.salts, 'hex'));
    if (!saltsEqual(salts, head.salts) || head.mxFrame < saved.frames) return false;
    if (!this.#chainReaches(salts, saved)) return false;
    this.#cursor = { salts, frames: saved.frames, sums: saved.sums };
    this.#commit = this.#position.pageCount;
    this.#cutFrame = saved.frames;
    this.#restartable = head.mxFrame === head.backfilled && head.mxFrame === saved.frames;
    return true;
  }

  /** Proves that the WAL's own checksum chain leads to the last frame that was captured. */
  #chainReaches(salts: Uint8Array, saved: WalPosition): boolean {
    using wal = new WalReader(this.#open.walFd, this.#pageSize);
    let cursor: WalCursor = { salts, frames: 0, sums: undefined };
    while (cursor.frames < saved.frames) {
      const next = wal.read(cursor, saved.frames);
      if (typeof next === 'string') return false;
      cursor = next;
    }
    return cursor.sums?.first === saved.sums.first && cursor.sums.second === saved.sums.second;
  }

  // ---- One look ----

  async #look(): Promise<void> {
    const asked = this.#waiters.length;
    this.#checkStillThere();
    if (this.#suspended !== undefined) {
      if (this.#unstoredBytes > this.#settings.maxSpoolBytes / 2) {
        this.#keepCheckpointing();
        this.#rejectWaiters(new RivuletError({ code: 'CAPTURE_SUSPENDED', message: this.#suspended }));
        return;
      }
      await this.#resume();
    }
    try {
      this.#copyAndMove();
      this.#cutIfDue();
      this.#checkpointIfDue();
    } catch (error) {
      if (!(error instanceof Discontinuity)) throw error;
      this.#log.log('info', 'comparing the database with the replica', { reason: error.message });
      await this.#compareAgain();
    }
    if (this.#pending.count === 0)
      for (const waiter of this.#waiters.splice(0, asked)) waiter.resolve(this.#position?.txid);
    if (this.#unstoredBytes > this.#settings.maxSpoolBytes) {
      this.#suspend(`more than ${this.#settings.maxSpoolBytes} bytes wait for the store`);
    }
  }

  /** The files under these names must still be the ones that are open: somebody may have put another database there. */
  #checkStillThere(): void {
    const now = Date.now();
    if (now - this.#lastLookMs < this.#settings.monitorIntervalMs) return;
    this.#lastLookMs = now;
    const { path } = this.#settings;
    const there = identify(path);
    if (!there) throw new NotReady('the database file was removed');
    const { walIndexFd, walFd } = this.#open;
    const same = (file: string, fd: number): boolean => {
      const stat = fs.fstatSync(fd, { bigint: true });
      return sameFile(identify(file), { device: stat.dev, inode: stat.ino });
    };
    if (!sameFile(there, this.#identity) || !same(`${path}-shm`, walIndexFd) || !same(`${path}-wal`, walFd)) {
      this.#log.log('warn', 'another file has taken the place of the database or its WAL; opening it anew', {
        db: path,
      });
      this.#detach();
      throw new NotReady('the database was replaced');
    }
  }

  #copyAndMove(): void {
    const head = this.#head();
    if (this.#isCaptured(head)) return;
    this.#moveReader();
  }

  #isCaptured(head: WalIndexHead): boolean {
    return saltsEqual(head.salts, this.#cursor.salts) && head.mxFrame === this.#cursor.frames;
  }

  /** Lets the standing reader move to the newest commit: the new read transaction begins before the old one ends. */
  #moveReader(): void {
    const handles = this.#open;
    handles.twin.beginRead();
    try {
      // Still under the old transaction: whatever the new one stands on is captured before the old one lets go.
      this.#captureFrames();
    } catch (error) {
      handles.twin.end();
      throw error;
    }
    handles.reader.end();
    handles.swapReaders();
    this.#noteRestartable();
  }

  #noteRestartable(): void {
    const head = this.#head();
    this.#restartable = head.backfilled === head.mxFrame && this.#isCaptured(head);
  }

  /** Copies every committed frame after the cursor into the pending pages. Cuts L0 files where that is called for. */
  #captureFrames(): void {
    const head = this.#head();
    this.#followGeneration(head);
    if (head.mxFrame < this.#cursor.frames) throw new Discontinuity('the WAL became shorter');
    if (head.mxFrame === this.#cursor.frames) return;
    this.#lastFrameMs = Date.now();
    using wal = new WalReader(this.#open.walFd, this.#pageSize);
    while (this.#cursor.frames < head.mxFrame) {
      const next = wal.read(this.#cursor, head.mxFrame);
      if (typeof next === 'string')
        throw new Discontinuity(`the WAL does not carry on from frame ${this.#cursor.frames}`);
      this.#takeBatch(wal, next);
    }
    // Pages that are only known by their frame must be written before the reader lets the WAL go.
    if (this.#pending.holdsFrames) this.#cut(wal);
  }

  /** After a restart of the WAL its salts differ. Nothing was missed only if the reader stood where it could not be. */
  #followGeneration(head: WalIndexHead): void {
    if (saltsEqual(head.salts, this.#cursor.salts)) return;
    if (!this.#restartable) throw new Discontinuity('the WAL was restarted by somebody else');
    this.#cursor = { salts: head.salts, frames: 0, sums: undefined };
    this.#cutFrame = 0;
  }

  #takeBatch(batch: WalReader, next: WalCursor): void {
    const { maxSyncWalBytes } = this.#settings;
    const bytes = frameSize(this.#pageSize);
    this.#restartable = false;
    for (let i = 0; i < batch.count; i++) {
      this.#pending.put(batch.pgno(i), batch.page(i), batch.first + i);
      this.#pendingBytes += bytes;
      const commit = batch.commit(i);
      if (commit === 0) continue;
      const shrinks = commit < this.#commit;
      this.#commit = commit;
      this.#cursor = { salts: next.salts, frames: batch.first + i + 1, sums: batch.sums(i) };
      // A shrink ends a file: pages beyond it that come back later must be stored anew, not found in an older file.
      if (shrinks || (maxSyncWalBytes > 0 && this.#pendingBytes >= maxSyncWalBytes)) this.#cut(batch);
    }
    this.#cursor = next;
  }

  // ---- Writing L0 files ----

  #cutIfDue(): void {
    if (this.#pending.count === 0) return;
    const age = Date.now() - this.#lastCutMs;
    if (this.#waiters.length > 0 || age >= this.#settings.syncIntervalMs * CUT_AT) this.#cutNow();
  }

  #cutNow(): void {
    if (this.#pending.count === 0) return;
    using wal = new WalReader(this.#open.walFd, this.#pageSize);
    this.#cut(wal);
  }

  /** Writes everything pending as one L0 file, at the commit where the cursor stands. */
  #cut(wal: WalReader): void {
    const pgnos = this.#pagesToStore();
    const range: WalRange = {
      offset: BigInt(frameOffset(this.#cutFrame, this.#pageSize)),
      size: BigInt((this.#cursor.frames - this.#cutFrame) * frameSize(this.#pageSize)),
      ...this.#salts(),
    };
    using writer = this.#newFile('increment', this.#commit, range);
    const hashes = this.#addPending(writer, wal, pgnos);
    const changes: HashChanges = { pgnos, hashes };
    const file = writer.finish(this.#hashes.checksumAfter(this.#commit, changes));
    this.#hashes.apply(this.#commit, changes);
    this.#announce(file, () => this.#journal.append(this.#positionAfter(file), changes, this.#hashes));
  }

  /** Pending pages, and pages that the database grew by without writing them: free pages, whose bytes still count. */
  #pagesToStore(): Uint32Array {
    const pending = this.#pending.sorted(this.#commit);
    const lock = lockPageNumber(this.#pageSize);
    const grown: number[] = [];
    for (let pgno = this.#hashes.pageCount + 1; pgno <= this.#commit; pgno++) {
      if (pgno !== lock && !this.#pending.has(pgno)) grown.push(pgno);
    }
    if (grown.length === 0) return pending;
    return Uint32Array.from([...pending, ...grown]).sort();
  }

  #addPending(writer: L0Writer, wal: WalReader, pgnos: Uint32Array): BigUint64Array<ArrayBuffer> {
    using batch = new PageBatch(this.#pageSize);
    const hashes = new BigUint64Array(pgnos.length);
    const unwritten = pgnos.filter((pgno) => !this.#pending.has(pgno));
    const grown = unwritten.length > 0 ? this.#grownPages(wal, unwritten) : undefined;
    for (let at = 0; at < pgnos.length; at += batch.capacity) {
      const count = Math.min(batch.capacity, pgnos.length - at);
      for (let i = 0; i < count; i++) {
        const pgno = pgnos[at + i] ?? 0;
        const source = this.#pending.source(pgno);
        const target = batch.slice(i, 1);
        batch.pgnos[i] = pgno;
        if (!source) grown?.readPage(pgno, target);
        else if ('slot' in source) target.set(this.#pending.slot(source.slot));
        else wal.readPage(source.frame, target);
      }
      writer.add(batch, count);
      hashes.set(batch.hashes.subarray(0, count), at);
    }
    return hashes;
  }

  #grownPages(wal: WalReader, pgnos: Uint32Array): SnapshotReader {
    using scan = new WalReader(this.#open.walFd, this.#pageSize); // `wal` may hold frames that are still being read
    const frames = newestFrames(scan, this.#cursor.salts, this.#cursor.frames, new Set(pgnos));
    if (!frames) throw new Discontinuity('the WAL does not prove itself');
    return new SnapshotReader(this.#open.databaseFd, wal, this.#pageSize, frames);
  }

  #newFile(kind: L0Kind, commit: number, wal: WalRange): L0Writer {
    fs.mkdirSync(this.#spoolPath, { recursive: true, mode: 0o700 });
    const id = txid((this.#position?.txid ?? 0n) + 1n);
    return new L0Writer(this.#spoolPath, { kind, txid: id, pageSize: this.#pageSize, commit, wal });
  }

  #positionAfter(file: SpooledFile): LocalPosition {
    const { salts, frames, sums } = this.#cursor;
    const none: WalSums = { first: 0, second: 0 };
    return {
      replicaUrl: this.#settings.replicaUrl,
      lineage: this.#settings.lineage,
      txid: file.txid,
      fileChecksum: file.fileChecksum,
      pageSize: this.#pageSize,
      pageCount: this.#commit,
      wal: { salts: Buffer.from(salts).toString('hex'), frames, sums: sums ?? none },
    };
  }

  /** The file is whole in the spool: record it, then tell. Once told it may be stored, so the record comes first. */
  #announce(file: SpooledFile, record: () => void): void {
    try {
      record();
    } catch (error) {
      // Nothing is lost by an old record: the next start finds the replica ahead of it and compares with the replica.
      this.#log.log('warn', 'the local state was not saved', { error: messageOf(error), txid: formatTxid(file.txid) });
    }
    this.#position = this.#positionAfter(file);
    this.#pending.clear();
    this.#pendingBytes = 0;
    this.#cutFrame = this.#cursor.frames;
    this.#lastCutMs = Date.now();
    this.#unstoredBytes += file.sizeBytes;
    this.#inSpool.push(file);
    this.#listener.spooled(file);
  }

  #salts(): { salt1: number; salt2: number } {
    const bytes = Buffer.from(this.#cursor.salts);
    return { salt1: bytes.readUInt32BE(0), salt2: bytes.readUInt32BE(4) };
  }

  // ---- Comparing ----

  async #compareAgain(): Promise<void> {
    this.#pending.clear();
    this.#pendingBytes = 0;
    this.#open.twin.end();
    this.#open.reader.end();
    await this.#compare(this.#beginExactly());
  }

  /**
   * Reads every page once, as of the standing read at `head`, and stores those that differ from what the replica has: all
   * of them when it has none. A background reader: writers go on, only the WAL cannot be backfilled past `head`.
   */
  async #compare(head: WalIndexHead): Promise<void> {
    using wal = new WalReader(this.#open.walFd, this.#pageSize);
    const image = this.#position === undefined;
    this.#cursor = { salts: head.salts, frames: head.mxFrame, sums: head.mxFrame > 0 ? head.sums : undefined };
    this.#cutFrame = head.mxFrame;
    this.#restartable = head.backfilled === head.mxFrame;
    this.#commit = head.mxFrame > 0 ? head.pageCount : this.#pagesInFile();
    if (this.#commit === 0) throw new NotReady('the database is empty');
    // Frames that are backfilled are in the file, and the WAL may be restarted over them; others are held by the read.
    const frames = this.#restartable ? new Map<number, number>() : newestFrames(wal, head.salts, head.mxFrame);
    if (!frames)
      throw new RivuletError({ code: 'WAL_DAMAGED', message: `the WAL of ${this.#settings.path} is damaged` });
    const snapshot = new SnapshotReader(this.#open.databaseFd, wal, this.#pageSize, frames);
    await this.#storeDifferences(snapshot, image ? 'image' : 'diff');
  }

  #pagesInFile(): number {
    return Math.floor(fs.fstatSync(this.#open.databaseFd).size / this.#pageSize);
  }

  async #storeDifferences(snapshot: SnapshotReader, kind: L0Kind): Promise<void> {
    const commit = this.#commit;
    const salts = this.#salts();
    const next = new PageHashes();
    next.resize(commit);
    // A file that is not made from a range of the WAL says so by offset 32 and size 0; Litestream accepts that.
    const range: WalRange = { offset: BigInt(WAL_HEADER_SIZE), size: 0n, ...salts };
    using writer = this.#newFile(kind, commit, range);
    using batch = new PageBatch(this.#pageSize);
    const lock = lockPageNumber(this.#pageSize);
    let stored = 0;
    for (let first = 1, sinceTurn = 0; first <= commit; first += batch.capacity) {
      const count = Math.min(batch.capacity, commit - first + 1);
      snapshot.readRun(batch, first, count);
      batch.hash(count);
      let kept = 0;
      for (let i = 0; i < count; i++) {
        const pgno = first + i;
        const hash = batch.hashes[i] ?? 0n;
        next.set(pgno, hash);
        if (pgno !== lock && (kind === 'image' || hash !== this.#hashes.get(pgno))) batch.keep(i, kept++);
      }
      if (kept > 0) writer.add(batch, kept);
      stored += kept;
      sinceTurn += count * this.#pageSize;
      if (sinceTurn >= TURN_BYTES) {
        sinceTurn = 0;
        await nextTurn();
      }
    }
    if (stored === 0 && this.#position && commit === this.#position.pageCount) {
      this.#log.log('info', 'the database is what the replica has', { txid: this.#txidText() });
      this.#rebase(this.#position);
      return;
    }
    const file = writer.finish(next.databaseChecksum);
    this.#hashes = next;
    this.#announce(file, () => this.#journal.fold(this.#positionAfter(file), next));
  }

  /** The comparison found nothing: the same TXID now stands on this place in the WAL. */
  #rebase(position: LocalPosition): void {
    const { salts, frames, sums } = this.#cursor;
    const wal = { salts: Buffer.from(salts).toString('hex'), frames, sums: sums ?? { first: 0, second: 0 } };
    this.#position = { ...position, wal };
    this.#journal.fold(this.#position, this.#hashes);
  }

  // ---- Checkpoints ----

  #checkpointIfDue(): void {
    const now = Date.now();
    if (now < this.#handoverNotBeforeMs) return;
    const head = this.#head();
    if (this.#restartable && this.#isCaptured(head)) return;
    const { minCheckpointPages, checkpointIntervalMs } = this.#settings;
    const quiet = now - this.#lastFrameMs >= QUIET_MS;
    const large = head.mxFrame >= minCheckpointPages;
    const late = checkpointIntervalMs > 0 && now - this.#lastHandoverMs >= checkpointIntervalMs;
    if (!quiet && !large && !late) return;
    if (head.backfilled === head.mxFrame) {
      // Somebody else's checkpoint did the work: beginning anew is enough to rest on read-lock 0.
      this.#moveReader();
      return;
    }
    if (this.#handover()) {
      this.#lastHandoverMs = now;
      this.#shrinkWal();
    }
  }

  /**
   * Hands the whole WAL to the database file, so that the next writer can restart it, without a moment in which a commit
   * could slip by. Returns true when the WAL was backfilled completely.
   */
  #handover(): boolean {
    const handles = this.#open;
    // 1, 2: while writers go on, copy what there is, move the reader to the newest frame and backfill up to it. Without
    // this the barrier below would have to wait for all of the copying and syncing.
    this.#moveReader();
    handles.checkpointer.checkpoint('PASSIVE');
    // 3: the barrier. Later than this and a commit could fall between the copy and the checkpoint.
    if (!this.#takeBarrier()) return false;
    const since = performance.now();
    try {
      this.#captureFrames();
      // 4: only now may our own read end: with the barrier up there is no commit that it would have to protect.
      handles.reader.end();
      handles.checkpointer.checkpoint('PASSIVE');
      // 5: begun while the WAL is fully backfilled, the read gets read-lock 0. It must begin before the barrier falls:
      // otherwise a writer could restart the WAL, commit, and have that commit checkpointed away before we look.
      handles.reader.beginRead();
      this.#noteRestartable();
    } catch (error) {
      throw new Discontinuity(`the handover failed: ${messageOf(error)}`);
    } finally {
      // 6: writers go on.
      handles.barrier.end();
      this.#listener.barrier(performance.now() - since);
    }
    // Another reader may have been in the way: carry on, and try again later.
    if (!this.#restartable) this.#handoverNotBeforeMs = Date.now() + PARTIAL_HANDOVER_PAUSE_MS;
    return this.#restartable;
  }

  #takeBarrier(): boolean {
    const { barrier } = this.#open;
    try {
      barrier.patience(this.#patienceMs);
      barrier.beginBarrier();
      this.#patienceMs = BARRIER_PATIENCE_MS.first;
      return true;
    } catch (error) {
      if (!isBusy(error)) throw error;
      const most = Math.min(
        BARRIER_PATIENCE_MS.most,
        Math.max(this.#settings.busyTimeoutMs, BARRIER_PATIENCE_MS.first),
      );
      this.#patienceMs = Math.min(this.#patienceMs * 1.5, most);
      return false;
    }
  }

  /** Shrinks a WAL file that grew large. With our reader on read-lock 0 it succeeds only if there is no unseen commit. */
  #shrinkWal(): void {
    const { walFd, checkpointer } = this.#open;
    const limit = this.#settings.truncatePages;
    if (limit <= 0 || fs.fstatSync(walFd).size < frameOffset(limit, this.#pageSize)) return;
    checkpointer.patience(TRUNCATE_PATIENCE_MS);
    const { busy } = checkpointer.checkpoint('TRUNCATE');
    checkpointer.patience(0);
    this.#log.log('debug', 'shrank the WAL', { busy });
  }

  // ---- Doing without room ----

  /** Stops writing L0 files, for the database's sake: its WAL and its disk come first. */
  #suspend(reason: string): void {
    if (this.#suspended === undefined) this.#log.log('error', 'capture suspended', { reason, db: this.#settings.path });
    this.#suspended = reason;
    this.#pending.clear();
    this.#pendingBytes = 0;
    this.#handles?.twin.end();
    this.#handles?.reader.end();
    this.#listener.state({ kind: 'suspended', reason });
  }

  #keepCheckpointing(): void {
    const head = this.#head();
    if (head.mxFrame - head.backfilled >= this.#settings.minCheckpointPages) {
      this.#open.checkpointer.checkpoint('PASSIVE');
    }
  }

  async #resume(): Promise<void> {
    await this.#compareAgain();
    this.#log.log('info', 'capture resumed', { reason: this.#suspended, txid: this.#txidText() });
    this.#suspended = undefined;
    this.#listener.state({ kind: 'attached' });
  }

  // ---- Waiting and ending ----

  #isIdle(): boolean {
    return this.#pending.count === 0 && Date.now() - this.#lastFrameMs > IDLE_MS;
  }

  #waitMs(): number {
    const { monitorIntervalMs, syncIntervalMs } = this.#settings;
    if (this.#suspended !== undefined) return monitorIntervalMs;
    if (this.#pending.count > 0) {
      const due = this.#lastCutMs + syncIntervalMs * CUT_AT - Date.now();
      return Math.max(1, Math.min(due, ACTIVE_POLL_MS));
    }
    return this.#isIdle() ? monitorIntervalMs : Math.min(ACTIVE_POLL_MS, monitorIntervalMs);
  }

  #rejectWaiters(error: unknown): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  /** The last look: whatever was committed until now goes into the spool, a first image or a comparison included. */
  async #finalCapture(): Promise<void> {
    try {
      if (!this.#handles) await this.#attach();
      if (this.#suspended !== undefined) await this.#resume();
      this.#captureFrames();
      this.#cutNow();
    } catch (error) {
      if (error instanceof NotReady) return;
      if (!(error instanceof Discontinuity)) throw error;
      await this.#compareAgain();
    }
  }

  #txidText(): string {
    return formatTxid(this.#position?.txid ?? 0n);
  }
}
