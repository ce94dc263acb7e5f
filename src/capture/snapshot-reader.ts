import { readFully } from '../base/durable-file.ts';
import type { PageBatch } from '../ltx/page-batch.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';
import { PageStore } from './page-store.ts';
import { PageTable } from './page-table.ts';
import { type WalReader, walk } from './wal-reader.ts';

/** What a read transaction sees. */
export interface SeenPages {
  readonly databaseFd: number;
  readonly wal: WalReader;
  readonly pageCount: number;
  /** Frame indexes in the WAL, of pages whose newest version is not in the file. */
  readonly frames: PageTable;
}

/**
 * Reads pages of the database as a read transaction sees them: the newest frame of the WAL up to the transaction's mark,
 * else the database file. The transaction must be held all the while: it keeps those frames from being overwritten, and
 * newer ones from reaching the file. Or, before it ends, what has changed since is {@link keep}t as it was, and so is what it alone
 * still holds ({@link keepSome}). Dispose of it when done.
 */
export class SnapshotReader {
  readonly #databaseFd: number;
  readonly #wal: WalReader;
  /** Bytes a page. */
  readonly pageSize: number;
  readonly #frames: PageTable;
  /** Pages as they were, that are not in file or WAL any more, or will not be. */
  readonly #kept: PageStore;
  /** All pages up to this one were read. */
  #last = 0;
  /** All pages beyond this one were read, or are kept. */
  #keptBeyond: number;
  /** Pages that the transaction sees. */
  readonly pageCount: number;

  constructor({ databaseFd, wal, pageCount, frames }: SeenPages, scratchFolder: string) {
    const { pageSize } = wal;
    this.pageCount = pageCount;
    this.#keptBeyond = pageCount;
    this.#kept = new PageStore(scratchFolder, pageSize);
    this.#databaseFd = databaseFd;
    this.#wal = wal;
    this.pageSize = pageSize;
    this.#frames = frames;
    // Of a database that was larger before: nobody reads them.
    for (const pgno of frames.pgnos(Number.POSITIVE_INFINITY, pageCount + 1)) frames.delete(pgno);
  }

  /** Bytes of what is kept. */
  get keptBytes(): number {
    return this.#kept.sizeBytes;
  }

  /** These pages may be overwritten once the read has ended: those that were not read yet are kept as they are. */
  keep(pgnos: Iterable<number>): void {
    const page = new Uint8Array(this.pageSize);
    for (const pgno of pgnos) {
      if (pgno <= this.#last || pgno > this.pageCount) continue;
      if (!this.#kept.has(pgno)) {
        this.readPage(pgno, page);
        this.#kept.set(pgno, page);
      }
      this.#frames.delete(pgno);
    }
  }

  /**
   * Bytes of pages still to be read that would be gone with the read: those whose newest version is in the WAL, and those beyond
   * `commit`, which a checkpoint cuts off the file.
   */
  unkeptBytes(commit: number): number {
    return (this.#frames.size + Math.max(0, this.#keptBeyond - this.#tail(commit))) * this.pageSize;
  }

  /** Keeps up to `bytes` of them, from the end: the reading comes to meet it. */
  keepSome(commit: number, bytes: number): void {
    const most = Math.max(1, Math.floor(bytes / this.pageSize));
    const tail = Math.max(this.#tail(commit), this.#keptBeyond - most);
    const beyond = Array.from({ length: Math.max(0, this.#keptBeyond - tail) }, (_, i) => this.#keptBeyond - i);
    this.keep([...beyond, ...this.#frames.highest(this.#last + 1, most)]);
    this.#keptBeyond = Math.min(this.#keptBeyond, tail);
  }

  #tail(commit: number): number {
    return Math.max(commit, this.#last);
  }

  /** Fills the batch with `count` pages from `first` on, which come one after the other. Pages that the file does not reach are zero, as SQLite has it. */
  readRun(batch: PageBatch, first: number, count: number): void {
    const size = this.pageSize;
    const target = batch.bytes.subarray(0, count * size);
    const got = readFully(this.#databaseFd, target, (first - 1) * size);
    target.fill(0, got);
    const lock = lockPageNumber(size);
    for (let i = 0; i < count; i++) {
      const pgno = first + i;
      batch.pgnos[i] = pgno;
      const frame = this.#frames.get(pgno);
      if (frame !== undefined && pgno !== lock) this.#wal.readPage(frame, batch.slice(i, 1));
      if (frame !== undefined) this.#frames.delete(pgno);
      const kept = this.#kept.sizeBytes > 0 ? this.#kept.get(pgno) : undefined;
      if (kept) batch.slice(i, 1).set(kept);
    }
    this.#last = first + count - 1;
  }

  /** Reads one page into `target`. */
  readPage(pgno: number, target: Uint8Array): void {
    const frame = this.#frames.get(pgno);
    if (frame !== undefined) {
      this.#wal.readPage(frame, target);
      return;
    }
    const got = readFully(this.#databaseFd, target, (pgno - 1) * this.pageSize);
    target.fill(0, got);
  }

  [Symbol.dispose](): void {
    this.#kept[Symbol.dispose]();
    this.#frames[Symbol.dispose]();
  }
}

/**
 * Returns the newest frame of every page up to frame count `until` (only of the pages in `wanted`, when given), or undefined when the
 * frames do not prove themselves. Dispose of it when done. In steps, see {@link walk}.
 */
export function* newestFrames(
  wal: WalReader,
  salts: Uint8Array,
  until: number,
  scratchFolder: string,
  wanted?: ReadonlySet<number>,
): Generator<undefined, PageTable | undefined> {
  const frames = new PageTable(scratchFolder);
  let isWhole = false;
  try {
    const end = yield* walk(wal, salts, until, ({ first, count }) => {
      for (let i = 0; i < count; i++) {
        const pgno = wal.pgno(i);
        if (!wanted || wanted.has(pgno)) frames.set(pgno, first + i);
      }
    });
    isWhole = end !== undefined;
    return isWhole ? frames : undefined;
  } finally {
    if (!isWhole) frames[Symbol.dispose]();
  }
}
