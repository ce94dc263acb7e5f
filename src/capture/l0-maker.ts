import { setImmediate as nextTurn } from 'node:timers/promises';
import { atOnce } from '../base/async.ts';
import { bootId } from '../base/boot.ts';
import { assert, messageOf, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { formatTxid, type Txid, txid } from '../base/types.ts';
import { kernel } from '../kernel/kernel.ts';
import { imagePageCount, type WalRange } from '../ltx/format.ts';
import { batchCapacity, type PageBatch } from '../ltx/page-batch.ts';
import type { EncodedPages } from '../ltx/page-encoder.ts';
import {
  type LocalPosition,
  loadLocalState,
  StateJournal,
  spoolPathFor,
  type WalPosition,
} from '../replica/local-state.ts';
import { type HashChanges, PageHashes } from '../replica/page-hashes.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';
import { WAL_HEADER_SIZE } from '../sqlite/wal.ts';
import { type DiskShare, nearlyFull } from './disk-share.ts';
import { cappedBytes, type L0Kind, L0Writer, type SpooledFile } from './l0-writer.ts';
import type { CaptureListener, CaptureSettings, GivenUp, StartingPoint, StoredBase } from './options.ts';
import type { SnapshotReader } from './snapshot-reader.ts';
import { type InSpool, prepareSpool, removeSpooled, visitPages } from './spool.ts';
import type { WalFollower } from './wal-follower.ts';
import type { WalReader } from './wal-reader.ts';

/** Pages read in one go before other work of the thread gets its turn, in bytes. */
const TURN_BYTES = 8 * 1024 * 1024;

/** Pages changed by one L0 file whose hashes are kept side by side, 12 bytes each. */
const MOST_CHANGES = 256 * 1024;

/** A comparison that finds so many pages, and so much of the database, is said to be strange. */
const MOST_SAID_FROM_PAGES = 16;
const MOST_OF_ALL = 0.9;

/** While a large database is read, how far it is gets said this often. */
const PROGRESS_EVERY_MS = 5000;

/**
 * Makes L0 files, and keeps what they add up to: the page hashes, the position, and the spool. One file after the other
 * becomes whole in the spool, is recorded in the local state, and only then told of.
 */
export class L0Maker {
  readonly #settings: CaptureSettings;
  readonly #spoolPath: string;
  readonly #journal: StateJournal;
  readonly #listener: Pick<CaptureListener, 'spooled' | 'progress'>;
  readonly #log: Logger;
  readonly #share: DiskShare;
  /** Files in the spool, oldest first. */
  readonly #inSpool: InSpool[];
  #hashes: PageHashes;
  #position: LocalPosition | undefined;
  #unstoredBytes: number;
  #lacksSnapshot: boolean;
  /** The newest file that is known to be stored. */
  #storedTxid: bigint;
  /** The newest file that was made since the start. */
  #madeTxid = 0n;
  #hasGivenUp = false;
  readonly #boot = bootId();
  #lastMs = 0;

  constructor(
    settings: CaptureSettings,
    start: StartingPoint,
    listener: Pick<CaptureListener, 'spooled' | 'progress'>,
    log: Logger,
    share: DiskShare,
  ) {
    this.#settings = settings;
    this.#share = share;
    this.#listener = listener;
    this.#log = log;
    this.#spoolPath = spoolPathFor(settings.metaPath);
    this.#journal = new StateJournal(settings.metaPath);
    this.#position = start.position;
    this.#hashes = start.position ? loadHashes(settings.metaPath, start.position) : new PageHashes(settings.metaPath);
    this.#unstoredBytes = start.spooledBytes;
    this.#lacksSnapshot = start.needsImage ?? false;
    this.#storedTxid = start.storedTxid;
    this.#inSpool = prepareSpool(this.#spoolPath, start.position?.txid ?? 0n);
    this.#holdShare();
  }

  /** What the replica has once the spool is stored; undefined before the first image. */
  get position(): LocalPosition | undefined {
    return this.#position;
  }

  /** Whether the next file must hold every page of a database whose pages are of this size. */
  needsImage(pageSize: number): boolean {
    return this.#lacksSnapshot || this.#position?.pageSize !== pageSize;
  }

  get unstoredBytes(): number {
    return this.#unstoredBytes;
  }

  /** Every file is in the store. */
  get isStored(): boolean {
    return this.#storedTxid >= this.#madeTxid && this.#unstoredBytes === 0;
  }

  /** Where to go on in the WAL. Nowhere after a boot: of what SQLite was told not to sync, anything can be lost. */
  get placeToGoOn(): WalPosition | undefined {
    const wal = this.#position?.wal;
    return wal?.boot === this.#boot ? wal : undefined;
  }

  /** Pages of the database as the replica has it. */
  get pageCount(): number {
    return this.#hashes.pageCount;
  }

  /** What the replica has of a page: its hash; 0n for none. */
  hashOf(pgno: number): bigint {
    return this.#hashes.get(pgno);
  }

  /** When the last file was made, on the monotonic clock. */
  get lastMs(): number {
    return this.#lastMs;
  }

  /** A file is in the store: it no longer counts, and older ones are removed. */
  stored(file: SpooledFile): void {
    this.#unstoredBytes = Math.max(0, this.#unstoredBytes - cappedBytes(file));
    this.#storedTxid = file.txid;
    // The newest stored file stays: it proves at the next start that the replica is the one that we wrote.
    for (let oldest = this.#inSpool[0]; oldest && oldest.txid < file.txid; oldest = this.#inSpool[0]) {
      removeSpooled(oldest.path);
      this.#inSpool.shift();
    }
    this.#holdShare();
  }

  /** Gives back what room can be given: stored files that only serve the next start as a proof. */
  dropStored(): void {
    for (let file = this.#inSpool[0]; file && file.txid <= this.#storedTxid; file = this.#inSpool[0]) {
      removeSpooled(file.path);
      this.#inSpool.shift();
    }
  }

  /**
   * Gives up files that are not known to be stored. What they changed counts as unknown from now on, so that the next comparison
   * stores it, whether or not one of them comes to light in the store.
   */
  giveUp({ from, base }: GivenUp): { readonly files: number; readonly bytes: number } {
    const given = this.#inSpool.filter(({ txid }) => txid >= from);
    let hasImage = false;
    if (base.txid === 0n) this.#hashes.resize(0);
    else for (const { path } of given) hasImage = this.#forgetPagesOf(path) || hasImage;
    // A comparison that finds nothing would store nothing.
    if (this.#hashes.pageCount > 0) this.#hashes.set(1, 0n);
    for (const { path } of given) removeSpooled(path);
    this.#inSpool.splice(this.#inSpool.length - given.length);
    this.#unstoredBytes = 0;
    this.#storedTxid = base.txid;
    this.#madeTxid = base.txid;
    this.#lacksSnapshot ||= base.lacksSnapshot || hasImage;
    this.#hasGivenUp = true;
    this.#holdShare();
    this.#goBackTo(base);
    return { files: given.length, bytes: given.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) };
  }

  /** Makes the hashes of the pages in a file unknown; true when it is an image, or may be one. */
  #forgetPagesOf(path: string): boolean {
    const hashes = this.#hashes;
    let count = 0;
    try {
      const { commit, pageSize } = visitPages(path, (pgno) => {
        count++;
        if (pgno <= hashes.pageCount) hashes.set(pgno, 0n);
      });
      return count === imagePageCount(commit, pageSize);
    } catch {
      // Whatever it changed: all of it is unknown then.
      hashes.resize(0);
      return true;
    }
  }

  /** Until the next file is made, a start that finds the state before this one reads the replica, as files are missing. */
  #goBackTo(base: StoredBase): void {
    const position = this.#position;
    this.#position = undefined;
    this.#journal.interrupt();
    if (!position || base.txid === 0n) return;
    this.#position = {
      ...position,
      txid: txid(base.txid),
      fileChecksum: base.fileChecksum,
      pageCount: this.#hashes.pageCount,
      imageTxid: imageUpTo(position, base),
      wal: undefined,
    };
    // Of what size the pages were before an image, nobody knows here: that a start has to read.
    if (this.#lacksSnapshot) return;
    try {
      this.#journal.fold(this.#position, this.#hashes);
    } catch (error) {
      this.#log.log('warn', 'the local state was not saved', { error: messageOf(error), txid: formatTxid(base.txid) });
    }
  }

  #holdShare(): void {
    let bytes = 0;
    for (const { txid, sizeBytes } of this.#inSpool) if (txid > this.#storedTxid) bytes += sizeBytes;
    this.#share.hold(bytes);
  }

  close(): void {
    this.#share.leave();
    this.#journal.close();
    this.#hashes[Symbol.dispose]();
  }

  /** Makes one file of everything that is pending, at the commit where the follower stands. */
  increment(follower: WalFollower, wal: WalReader): void {
    atOnce(this.#increment(follower, wal));
  }

  /** The same for a large one: other work of the thread gets its turn now and then. */
  async incrementInTurns(follower: WalFollower, wal: WalReader): Promise<void> {
    for (const wait of this.#increment(follower, wal)) await wait();
  }

  *#increment(follower: WalFollower, wal: WalReader): Steps {
    assert(follower.standsAtCommit, 'a file ends at a commit');
    const { commit, pending } = follower;
    const grown = this.#grown(follower);
    const count = pending.count + grown.size;
    if (count > MOST_CHANGES) {
      yield* this.#largeIncrement(follower, wal, grown, count);
      return;
    }
    const pgnos = new Uint32Array(count);
    const hashes = new BigUint64Array(count);
    let noted = 0;
    using writer = this.#newFile('increment', follower, follower.pendingRange(), count, (pages) => {
      pgnos.set(pages.pgnos.subarray(0, pages.count), noted);
      hashes.set(pages.hashes.subarray(0, pages.count), noted);
      noted += pages.count;
    });
    yield* addPending(writer, follower, wal, grown);
    const changes = (): HashChanges => ({ pgnos: pgnos.subarray(0, noted), hashes: hashes.subarray(0, noted) });
    const file = writer.finish(() => this.#hashes.checksumAfter(commit, changes()));
    this.#hashes.apply(commit, changes());
    this.#announce(file, follower, (position) => this.#journal.append(position, changes(), this.#hashes));
  }

  /** The same for a transaction that changed much of a large database: what it changed is noted in a second table. */
  *#largeIncrement(follower: WalFollower, wal: WalReader, grown: ReadonlySet<number>, count: number): Steps {
    const next = this.#hashes.copy();
    try {
      next.resize(follower.commit);
      using writer = this.#newFile('increment', follower, follower.pendingRange(), count, (pages) => {
        for (let i = 0; i < pages.count; i++) next.set(pages.pgnos[i] ?? 0, pages.hashes[i] ?? 0n);
      });
      yield* addPending(writer, follower, wal, grown);
      this.#announceWith(
        next,
        writer.finish(() => next.databaseChecksum),
        follower,
      );
    } finally {
      if (this.#hashes !== next) next[Symbol.dispose]();
    }
  }

  /** Pages that the database grew by and that are not in the WAL: a restore needs every page. */
  #grown({ pending, commit, fewestPages, pageSize }: WalFollower): Set<number> {
    const lock = lockPageNumber(pageSize);
    const grown = new Set<number>();
    for (let pgno = Math.min(this.#hashes.pageCount, fewestPages) + 1; pgno <= commit; pgno++) {
      if (pgno !== lock && !pending.has(pgno)) grown.add(pgno);
    }
    return grown;
  }

  /**
   * Reads every page once and stores those that differ from what the replica has: all of them when it {@link needsImage}. A
   * background reader: writers go on, only the WAL cannot be backfilled past where the follower stands. `onTurn` is called now and
   * then.
   */
  async compare(follower: WalFollower, snapshot: SnapshotReader, onTurn: () => Promise<void>): Promise<void> {
    const next = new PageHashes(this.#settings.metaPath, follower.commit);
    try {
      await this.#compareInto(next, follower, snapshot, onTurn);
    } finally {
      if (this.#hashes !== next) next[Symbol.dispose]();
    }
  }

  async #compareInto(
    next: PageHashes,
    follower: WalFollower,
    snapshot: SnapshotReader,
    onTurn: () => Promise<void>,
  ): Promise<void> {
    const { commit, cursor } = follower;
    const kind: L0Kind = this.needsImage(follower.pageSize) ? 'image' : 'diff';
    // A file that is not made from a range of the WAL says so by offset 32 and size 0; Litestream accepts that.
    const range: WalRange = { offset: BigInt(WAL_HEADER_SIZE), size: 0n, ...follower.salts() };
    // An image is hashed as it is encoded; for a comparison the hashes decide what is encoded at all.
    const image = kind === 'image';
    const onPages = image ? (pages: EncodedPages) => noteHashes(next, pages) : undefined;
    using writer = this.#newFile(kind, follower, range, image ? commit : 0, onPages);
    const stored = await this.#readAll(snapshot, writer, image ? undefined : next, onTurn);
    const hasMoved = follower.cursor !== cursor;
    if (!image && stored === 0 && this.#position?.pageCount === commit) {
      this.#rebase(this.#position, follower, hasMoved);
      return;
    }
    const file = writer.finish(() => next.databaseChecksum);
    if (!image) this.#sayIfStrange(stored, commit);
    this.#log.log('info', image ? 'read the whole database' : 'the database differs from the replica', {
      pages: stored,
      of: commit,
      txid: formatTxid(file.txid),
    });
    this.#announceWith(next, file, follower, hasMoved);
  }

  /**
   * Reads every page into a file, or only those that differ: their hashes are noted in `differing` then. Returns how many are in the
   * file.
   */
  async #readAll(
    snapshot: SnapshotReader,
    writer: L0Writer,
    differing: PageHashes | undefined,
    onTurn: () => Promise<void>,
  ): Promise<number> {
    const { pageCount, pageSize } = snapshot;
    const capacity = batchCapacity(pageSize);
    let stored = 0;
    let sinceTurn = 0;
    let saidMs = performance.now();
    for (let first = 1; first <= pageCount; first += capacity) {
      const count = Math.min(capacity, pageCount - first + 1);
      const batch = writer.batch();
      snapshot.readRun(batch, first, count);
      const kept = differing ? this.#keepDifferent(batch, first, count, differing) : dropLockPage(batch, count);
      if (kept > 0) writer.add(kept);
      stored += kept;
      if (kept > 0 && this.#share.isUsedUp(writer.sizeBytes)) throw nearlyFull();
      sinceTurn += count * pageSize;
      if (sinceTurn < TURN_BYTES) continue;
      sinceTurn = 0;
      await nextTurn();
      await onTurn();
      this.#listener.progress(first * pageSize, pageCount * pageSize);
      if (performance.now() - saidMs < PROGRESS_EVERY_MS) continue;
      saidMs = performance.now();
      this.#log.log('info', 'reading the database', {
        percent: Math.floor((first / pageCount) * 100),
        pages: pageCount,
      });
    }
    this.#listener.progress(pageCount * pageSize, pageCount * pageSize);
    return stored;
  }

  /** Without a place in the WAL, all that is known of the replica came from itself. */
  #sayIfStrange(stored: number, pageCount: number): void {
    if (this.#madeTxid !== 0n || this.#position?.wal !== undefined || this.#hasGivenUp) return;
    if (stored < MOST_SAID_FROM_PAGES || stored <= pageCount * MOST_OF_ALL) return;
    this.#log.log('warn', 'almost every page differs from what the replica held: is it the replica of this database?', {
      replica: this.#settings.replicaUrl,
      kept: 'what it held can still be restored, by TXID',
    });
  }

  /** Notes the hash of every page of a batch, and moves those that the replica has otherwise to its front. */
  #keepDifferent(batch: PageBatch, first: number, count: number, next: PageHashes): number {
    const xor = batch.hash(count);
    const hashes = batch.hashes.subarray(0, count);
    next.setNew(first, hashes, xor);
    if (this.#hashes.matches(first, hashes)) return 0;
    const lock = lockPageNumber(batch.pageSize);
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const pgno = first + i;
      if (pgno !== lock && hashes[i] !== this.#hashes.get(pgno)) batch.keep(i, kept++);
    }
    return kept;
  }

  /** The comparison found nothing: the same TXID now stands on this place in the WAL, if that is still known. */
  #rebase(position: LocalPosition, follower: WalFollower, hasMoved: boolean): void {
    this.#log.log('info', 'the database is what the replica has', { txid: formatTxid(position.txid) });
    this.#position = { ...position, wal: hasMoved ? undefined : this.#walPosition(follower) };
    this.#journal.fold(this.#position, this.#hashes);
  }

  #walPosition(follower: WalFollower): WalPosition {
    const { salts, frames, sums } = follower.cursor;
    const chain = sums ?? { first: 0, second: 0 };
    return {
      salts: Buffer.from(salts).toString('hex'),
      frames,
      sums: chain,
      file: follower.fileName,
      version: follower.provenVersion,
      isWhole: follower.mayRest,
      boot: this.#boot,
    };
  }

  /** Records where to go on in the WAL, if that is known better than before. Nothing is pending. */
  notePlace(follower: WalFollower): void {
    assert(follower.pending.count === 0, 'everything up to the place is in a file');
    const { provenVersion } = follower;
    const before = this.#position?.wal;
    if (!this.#position || provenVersion === undefined) return;
    if (before?.version === provenVersion && (before.isWhole || !follower.mayRest)) return;
    this.#position = { ...this.#position, wal: this.#walPosition(follower) };
    try {
      this.#journal.note(this.#position, this.#hashes);
    } catch (error) {
      const { txid } = this.#position;
      this.#log.log('warn', 'the local state was not saved', { error: messageOf(error), txid: formatTxid(txid) });
    }
  }

  #newFile(
    kind: L0Kind,
    follower: WalFollower,
    wal: WalRange,
    pages: number,
    onPages?: (pages: EncodedPages) => void,
  ): L0Writer {
    const id = txid((this.#position?.txid ?? 0n) + 1n);
    const { pageSize, commit } = follower;
    return new L0Writer(this.#spoolPath, { kind, txid: id, pageSize, commit, wal }, pages * pageSize, onPages);
  }

  /** {@link #announce}s a file together with the page hashes that it leads to. */
  #announceWith(next: PageHashes, file: SpooledFile, follower: WalFollower, hasMoved = false): void {
    this.#hashes[Symbol.dispose]();
    this.#hashes = next;
    this.#announce(file, follower, (position) => this.#journal.fold(position, next), hasMoved);
  }

  /**
   * The file is whole in the spool: record it, then tell. Once told it may be stored, so the record comes first. `hasMoved`: the follower stands
   * at a later commit, and what came since is pending.
   */
  #announce(
    file: SpooledFile,
    follower: WalFollower,
    record: (position: LocalPosition) => void,
    hasMoved = false,
  ): void {
    const position: LocalPosition = {
      replicaUrl: this.#settings.replicaUrl,
      lineage: this.#settings.lineage,
      txid: file.txid,
      fileChecksum: file.fileChecksum,
      pageSize: follower.pageSize,
      pageCount: this.#hashes.pageCount,
      imageTxid: file.kind === 'image' && file.txid > 1n ? file.txid : this.#position?.imageTxid,
      wal: hasMoved ? undefined : this.#walPosition(follower),
    };
    try {
      record(position);
    } catch (error) {
      // Nothing is lost by an old record: the next start finds the replica ahead of it and compares with the replica.
      this.#log.log('warn', 'the local state was not saved', { error: messageOf(error), txid: formatTxid(file.txid) });
    }
    this.#position = position;
    if (file.kind === 'image') this.#lacksSnapshot = false;
    this.#madeTxid = file.txid;
    this.#hasGivenUp = false;
    if (!hasMoved) follower.markStored();
    this.#lastMs = performance.now();
    this.#unstoredBytes += cappedBytes(file);
    this.#inSpool.push(file);
    this.#holdShare();
    this.#listener.spooled(file);
  }
}

/** Takes the lock page out of a batch of consecutive pages; returns how many are left. */
function dropLockPage(batch: PageBatch, count: number): number {
  const at = lockPageNumber(batch.pageSize) - (batch.pgnos[0] ?? 0);
  if (at < 0 || at >= count) return count;
  for (let i = at + 1; i < count; i++) batch.keep(i, i - 1);
  return count - 1;
}

/** Notes the hashes of encoded pages in a table that does not know them yet. */
function noteHashes(table: PageHashes, pages: EncodedPages): void {
  const { count, pgnos, hashes, hashXor } = pages;
  const first = pgnos[0] ?? 0;
  const consecutive = (pgnos[count - 1] ?? 0) - first === count - 1;
  if (consecutive) table.setNew(first, hashes.subarray(0, count), hashXor);
  else for (let i = 0; i < count; i++) table.set(pgnos[i] ?? 0, hashes[i] ?? 0n);
}

/** Long work, of which each step ends with what it is good to wait for. */
type Steps = Generator<() => Promise<unknown>, void>;

/** Adds all pending pages to a file, from memory or their frame, and those of `grown` as the database has them. */
function* addPending(writer: L0Writer, follower: WalFollower, wal: WalReader, grown: ReadonlySet<number>): Steps {
  const { pending, commit, pageSize } = follower;
  using rest = grown.size > 0 ? follower.unwrittenPages(grown, wal) : undefined;
  const written = pending.pgnos(commit);
  const pgnos = grown.size > 0 ? Uint32Array.from([...written, ...grown]).sort() : written;
  const capacity = batchCapacity(pageSize);
  let batch = writer.batch();
  let count = 0;
  let sinceTurn = 0;
  for (const pgno of pgnos) {
    if (count === capacity) {
      writer.add(count);
      sinceTurn += count * pageSize;
      if (sinceTurn >= TURN_BYTES) {
        sinceTurn = 0;
        yield nextTurn;
      }
      batch = writer.batch();
      count = 0;
    }
    const source = pending.source(pgno);
    if (!source) rest?.readPage(pgno, batch.slice(count, 1));
    else if ('bytes' in source) batch.slice(count, 1).set(source.bytes);
    else if ('slot' in source) kernel().fn.copy(batch.pageAt(count), pending.slotAt(source.slot), pageSize);
    else wal.readPage(source.frame, batch.slice(count, 1));
    batch.pgnos[count++] = pgno;
  }
  if (count > 0) writer.add(count);
  yield () => writer.flushed();
}

/** The page hashes of the local state, which must be at `position`. */
function loadHashes(metaPath: string, { txid: wanted, fileChecksum }: LocalPosition): PageHashes {
  const state = loadLocalState(metaPath);
  if (state?.position.txid === wanted && state.position.fileChecksum === fileChecksum) return state.hashes;
  state?.hashes[Symbol.dispose]();
  throw new RivuletError({
    code: 'LOCAL_STATE_CHANGED',
    message: `the local state in ${metaPath} was changed by somebody else while Rivulet started`,
    kept: 'the database and the replica are as they were',
    next: 'start Rivulet again, one process for this database',
  });
}

/** The image on which the replica stands at `base`, where that is known. */
function imageUpTo({ imageTxid }: LocalPosition, base: StoredBase): Txid | undefined {
  if (base.lacksSnapshot) return txid(base.txid);
  return imageTxid !== undefined && imageTxid <= base.txid ? imageTxid : undefined;
}
