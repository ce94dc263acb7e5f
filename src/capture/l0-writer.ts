import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileSeconds, fsyncFolder, makeFolders, writeFully } from '../base/durable-file.ts';
import { hasCode } from '../base/errors.ts';
import { type Checksum, checksum, type Txid } from '../base/types.ts';
import { EncodePool } from '../ltx/encode-pool.ts';
import { LtxEncoder } from '../ltx/encoder.ts';
import { FLAG_NO_CHECKSUM, formatLtxName, HEADER_SIZE, type LtxHeader, type WalRange } from '../ltx/format.ts';
import type { PageBatch } from '../ltx/page-batch.ts';
import type { EncodedPages } from '../ltx/page-encoder.ts';

/** What an L0 file was made from: a range of the WAL, a comparison with what the replica has, or the whole database. */
export type L0Kind = 'increment' | 'diff' | 'image';

/** An L0 file in the spool: whole and durable on this machine, not yet in the store. */
export interface SpooledFile {
  readonly kind: L0Kind;
  readonly txid: Txid;
  readonly path: string;
  readonly sizeBytes: number;
  readonly fileChecksum: Checksum;
  /** When it was captured, ms since 1970. */
  readonly timestampMs: number;
  /** Pages it holds. */
  readonly pageCount: number;
}

/** What a file counts in the spool's cap: not an image, which is as large as the database is. */
export function cappedBytes(file: SpooledFile): number {
  return file.kind === 'image' ? 0 : file.sizeBytes;
}

export interface L0Fields {
  readonly kind: L0Kind;
  readonly txid: Txid;
  /** Bytes a page. */
  readonly pageSize: number;
  /** Pages in the database after it. */
  readonly commit: number;
  readonly wal: WalRange;
}

/** Starting other threads pays for itself from this many bytes of pages on. */
const PARALLEL_FROM_BYTES = 32 * 1024 * 1024;
/** Most encoding threads beside the capture's own. */
const MAX_THREADS = 3;
/** Written bytes are sent to the disk after each of these, so that the last fsync finds little left to do. */
const FLUSH_BYTES = 16 * 1024 * 1024;

/**
 * Writes one L0 file into the spool: fill {@link batch}, {@link add} it, again and again, then {@link finish}. Either the
 * file appears whole, or nothing of it stays.
 */
export class L0Writer {
  readonly #fields: L0Fields;
  readonly #path: string;
  readonly #staged: string;
  readonly #encoder: LtxEncoder;
  readonly #pool: EncodePool;
  readonly #onPages: (pages: EncodedPages) => void;
  readonly #fd: number;
  #offset = HEADER_SIZE;
  #flushedTo = HEADER_SIZE;
  #isFlushing = false;
  #isOpen = true;
  #isWhole = false;

  /** `bytes`: about how much will be added. `onPages` is told of the pages, in order, as they are written. */
  constructor(
    spoolPath: string,
    fields: L0Fields,
    bytes: number,
    onPages: (pages: EncodedPages) => void = () => undefined,
  ) {
    this.#fields = fields;
    this.#path = join(spoolPath, formatLtxName(fields.txid, fields.txid));
    this.#staged = `${this.#path}.tmp`;
    this.#onPages = onPages;
    this.#fd = openIn(spoolPath, this.#staged);
    this.#encoder = new LtxEncoder({ ...fields, scratchFolder: spoolPath });
    const threads = bytes < PARALLEL_FROM_BYTES ? 0 : Math.min(availableParallelism() - 1, MAX_THREADS);
    this.#pool = new EncodePool(fields.pageSize, 'block', threads);
  }

  /** Bytes written so far. */
  get sizeBytes(): number {
    return this.#offset;
  }

  /** A batch to fill with the next pages. */
  batch(): PageBatch {
    for (;;) {
      const batch = this.#pool.batch();
      if (batch) return batch;
      this.#writeNext();
    }
  }

  /** Adds the first `count` pages of the batch. */
  add(count: number): void {
    this.#pool.submit(count);
    while (this.#pool.hasResult) this.#writeNext();
  }

  /** Writes the oldest batch that is on its way; false when none is. */
  #writeNext(): boolean {
    const pages = this.#pool.take();
    if (!pages) return false;
    this.#encoder.append(pages);
    writeFully(this.#fd, pages.bytes, this.#offset);
    this.#offset += pages.bytes.length;
    this.#onPages(pages);
    this.#flush();
    return true;
  }

  /**
   * Starts sending what was written to the disk, while the next pages are encoded. Only a head start: finish() fsyncs. An error is told
   * to each descriptor once: through this one it is not taken from that of finish().
   */
  #flush(): void {
    if (this.#isFlushing || this.#offset - this.#flushedTo < FLUSH_BYTES) return;
    this.#isFlushing = true;
    this.#flushedTo = this.#offset;
    const fd = fs.openSync(this.#staged, 'r');
    fs.fdatasync(fd, () => {
      this.#isFlushing = false;
      fs.closeSync(fd);
    });
  }

  /** What was added is on the disk then, so that {@link finish} has little left to wait for. Of errors it hears by itself. */
  flushed(): Promise<void> {
    while (this.#writeNext());
    const fd = fs.openSync(this.#staged, 'r');
    return new Promise((resolve) => {
      fs.fdatasync(fd, () => {
        fs.closeSync(fd);
        resolve();
      });
    });
  }

  /** Ends the file. `databaseChecksum` is asked for once every page has been told of. */
  finish(databaseChecksum: () => Checksum): SpooledFile {
    const { kind, txid, pageSize, commit, wal } = this.#fields;
    while (this.#writeNext());
    const timestampMs = Date.now();
    const header: LtxHeader = {
      flags: FLAG_NO_CHECKSUM,
      pageSize,
      commit,
      minTxid: txid,
      maxTxid: txid,
      timestampMs,
      preApplyChecksum: checksum(0n),
      wal,
      nodeId: 0n,
      databaseChecksum: databaseChecksum(),
    };
    const done = this.#encoder.finish(header, (bytes) => {
      writeFully(this.#fd, bytes, this.#offset);
      this.#offset += bytes.length;
    });
    writeFully(this.#fd, done.head, 0);
    this.#setTime(timestampMs);
    fs.fsyncSync(this.#fd);
    this.#close();
    fs.renameSync(this.#staged, this.#path);
    this.#isWhole = true;
    fsyncFolder(dirname(this.#path));
    return {
      kind,
      txid,
      path: this.#path,
      sizeBytes: done.sizeBytes,
      fileChecksum: done.fileChecksum,
      timestampMs,
      pageCount: this.#encoder.pageCount,
    };
  }

  /** With the time of its data, a store in a folder can link the file as it is. */
  #setTime(timestampMs: number): void {
    const seconds = fileSeconds(timestampMs);
    try {
      fs.futimesSync(this.#fd, seconds, seconds);
    } catch {
      // Some file systems do not let us; the store sees to it then.
    }
  }

  /** Closes; removes what was not finished. */
  [Symbol.dispose](): void {
    this.#pool[Symbol.dispose]();
    this.#encoder[Symbol.dispose]();
    this.#close();
    if (!this.#isWhole) fs.rmSync(this.#staged, { force: true });
  }

  #close(): void {
    if (this.#isOpen) fs.closeSync(this.#fd);
    this.#isOpen = false;
  }
}

/** Opens a new file; makes the folder anew if somebody removed it. */
function openIn(folder: string, path: string): number {
  const open = (): number => fs.openSync(path, 'w', 0o600);
  try {
    return open();
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
    makeFolders(folder, 0o700);
    return open();
  }
}
