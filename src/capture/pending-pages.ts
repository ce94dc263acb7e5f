import { kernel, type Region } from '../kernel/kernel.ts';
import { PageTable } from './page-table.ts';

/** Page versions that one capture keeps in memory between two L0 files, in bytes. */
export const PENDING_BYTES = 8 * 1024 * 1024;

/** Where the newest version of a pending page is: a slot in memory, or a frame of the WAL (index from 0). */
export type PageSource = { readonly slot: number } | { readonly frame: number };

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
  #memory: Region | undefined;
  #used = 0;
  #frames = 0;

  /** `scratchFolder`: for what a huge transaction needs. */
  constructor(pageSize: number, scratchFolder: string) {
    this.#pageSize = pageSize;
    this.#where = new PageTable(scratchFolder);
    this.#slots = Math.max(1, Math.floor(PENDING_BYTES / pageSize));
  }

  get count(): number {
    return this.#where.size;
  }

  /** True while a page is known only by its frame in the WAL. */
  get holdsFrames(): boolean {
    return this.#frames > 0;
  }

  /** Takes a committed page version from WAL frame `frame`. */
  put(pgno: number, page: Uint8Array, frame: number): void {
    const before = this.#where.get(pgno);
    if (before !== undefined && before < this.#slots) {
      this.#write(before, page);
    } else if (before === undefined && this.#used < this.#slots) {
      this.#write(this.#used, page);
      this.#where.set(pgno, this.#used++);
    } else {
      if (before === undefined) this.#frames++;
      this.#where.set(pgno, this.#slots + frame);
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
    return at < this.#slots ? { slot: at } : { frame: at - this.#slots };
  }

  /** The bytes of a slot. */
  slot(index: number): Uint8Array {
    return this.#region().bytes.subarray(index * this.#pageSize, (index + 1) * this.#pageSize);
  }

  clear(): void {
    this.#where.clear();
    this.#used = 0;
    this.#frames = 0;
  }

  /** Clears, and gives the memory back until the next page comes. */
  release(): void {
    this.clear();
    this.#memory?.[Symbol.dispose]();
    this.#memory = undefined;
  }

  #write(slot: number, page: Uint8Array): void {
    this.#region().bytes.set(page, slot * this.#pageSize);
  }

  #region(): Region {
    this.#memory ??= kernel().allocate(this.#slots * this.#pageSize);
    return this.#memory;
  }
}
