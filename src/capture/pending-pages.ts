import { assert } from '../base/errors.ts';
import { kernel, type Region } from '../kernel/kernel.ts';
import { PageStore } from './page-store.ts';
import { PageTable } from './page-table.ts';
import type { FrameBatch } from './wal-reader.ts';

/** Page versions that one capture keeps in memory between two L0 files, in bytes. */
export const PENDING_BYTES = 8 * 1024 * 1024;
/** Memory is taken in blocks of this size, in bytes: most databases need little. */
const BLOCK_BYTES = 256 * 1024;

/** In place of a slot: the page is in the scratch file. */
const IN_SCRATCH = 2 ** 32 - 2;

/** Where the newest version of a pending page is: a slot in memory, a frame of the WAL (index from 0), or these bytes, until the next call. */
export type PageSource = { readonly slot: number } | { readonly frame: number } | { readonly bytes: Uint8Array };

/**
 * The newest version of every page that was committed since the last L0 file. Versions are copied out of the WAL, so
 * that the WAL may be restarted; when memory is full, further pages are remembered by their frame, and the WAL must not
 * be let go before they are written ({@link holdsFrames}).
 */
export class PendingPages {
  readonly #pageSize: number;
  readonly #slots: number;
  /** Slot, or the number of slots plus the frame. */
  readonly #where: PageTable;
  /** Slots to fill, and from which frame of the batch. */
  readonly #toCopy = new Map<number, number>();
  readonly #slotsABlock: number;
  readonly #blocks: Region[] = [];
  /** Pages for which there was no memory while {@link needsNoWal}. */
  readonly #scratch: PageStore;
  readonly #toScratch = new Map<number, number>();
  /** Pages for which there is no memory are copied to a scratch file: the WAL may be let go at any time. */
  needsNoWal = false;
  #used = 0;
  /** Slots of pages that are gone. */
  readonly #free: number[] = [];
  #frames = 0;

  /** `scratchFolder`: for what a huge transaction needs. */
  constructor(pageSize: number, scratchFolder: string) {
    this.#pageSize = pageSize;
    this.#where = new PageTable(scratchFolder);
    this.#scratch = new PageStore(scratchFolder, pageSize);
    this.#slots = Math.max(1, Math.floor(PENDING_BYTES / pageSize));
    this.#slotsABlock = Math.max(1, Math.floor(BLOCK_BYTES / pageSize));
  }

  get count(): number {
    return this.#where.size;
  }

  /** So many more pages can be copied. */
  get room(): number {
    if (this.needsNoWal) return Number.POSITIVE_INFINITY;
    return this.#slots - this.#used + this.#free.length;
  }

  /** Bytes in the scratch file. */
  get scratchBytes(): number {
    return this.#scratch.sizeBytes;
  }

  /** True while a page is known only by its frame in the WAL. */
  get holdsFrames(): boolean {
    return this.#frames > 0;
  }

  /**
   * Takes the page version in frame `i` of a batch, of which only the last one of its page is copied: call {@link copy}
   * before the batch is gone.
   */
  put(batch: FrameBatch, i: number): void {
    const pgno = batch.pgno(i);
    let at = this.#where.get(pgno);
    if (at === undefined) {
      at = this.#free.pop() ?? (this.#used < this.#slots ? this.#used++ : undefined);
      if (at !== undefined) this.#where.set(pgno, at);
    }
    if (at !== undefined && at < this.#slots) {
      this.#toCopy.set(at, i);
      return;
    }
    if (at === IN_SCRATCH || (at === undefined && this.needsNoWal)) {
      this.#where.set(pgno, IN_SCRATCH);
      this.#toScratch.set(pgno, i);
      return;
    }
    if (at === undefined) this.#frames++;
    this.#where.set(pgno, this.#slots + batch.first + i);
  }

  /** Copies what was put from this batch. */
  copy(batch: FrameBatch): void {
    const { fn } = kernel();
    for (const [slot, i] of this.#toCopy) fn.copy(this.slotAt(slot), batch.pageAt(i), this.#pageSize);
    this.#toCopy.clear();
    for (const [pgno, i] of this.#toScratch) this.#scratch.set(pgno, batch.page(i));
    this.#toScratch.clear();
  }

  /** The database has no more than `commit` pages now: what was beyond them is gone, and does not come back as it was. */
  dropBeyond(commit: number): void {
    for (const pgno of this.#where.pgnos(Number.POSITIVE_INFINITY, commit + 1)) {
      const at = this.#where.get(pgno) ?? 0;
      this.#where.delete(pgno);
      if (at === IN_SCRATCH) {
        this.#toScratch.delete(pgno);
        this.#scratch.delete(pgno);
      } else if (at >= this.#slots) {
        this.#frames--;
      } else {
        this.#toCopy.delete(at);
        this.#free.push(at);
      }
    }
  }

  has(pgno: number): boolean {
    return this.#where.get(pgno) !== undefined;
  }

  /** Pending page numbers up to `commit`, ascending. Pages past the end of the database are not stored. */
  pgnos(commit: number): Generator<number> {
    return this.#where.pgnos(commit);
  }

  source(pgno: number): PageSource | undefined {
    const at = this.#where.get(pgno);
    if (at === undefined) return undefined;
    if (at === IN_SCRATCH) {
      const bytes = this.#scratch.get(pgno);
      assert(bytes, 'what was put there is there');
      return { bytes };
    }
    return at < this.#slots ? { slot: at } : { frame: at - this.#slots };
  }

  /** Address of a slot in kernel memory. */
  slotAt(index: number): number {
    const block = this.#block(Math.floor(index / this.#slotsABlock));
    return block.pointer + (index % this.#slotsABlock) * this.#pageSize;
  }

  #block(index: number): Region {
    for (let next = this.#blocks.length; next <= index; next++) {
      this.#blocks.push(kernel().allocate(this.#slotsABlock * this.#pageSize));
    }
    const block = this.#blocks[index];
    assert(block, 'a block that was allocated is there');
    return block;
  }

  /** Forgets everything, and gives the memory back. */
  clear(): void {
    for (const block of this.#blocks.splice(0)) block[Symbol.dispose]();
    this.#toCopy.clear();
    this.#toScratch.clear();
    this.#scratch.clear();
    this.#where.clear();
    this.#used = 0;
    this.#free.length = 0;
    this.#frames = 0;
  }
}
