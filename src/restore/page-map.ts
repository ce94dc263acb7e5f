import { assert } from '../base/errors.ts';

/** Most files that a map can tell apart. */
export const MAX_MAPPED_FILES = 0xffff;

/** Neighbouring page frames of one file, to be read in one go: entries `first` to `first + count - 1` of the map's order. */
export interface FrameRange {
  /** Number of the file in its plan, from 0. */
  readonly file: number;
  readonly first: number;
  readonly count: number;
  /** In bytes from the file's start. */
  readonly offset: number;
  readonly length: number;
}

export interface RangeLimits {
  /** Most bytes of one range. */
  readonly rangeBytes: number;
  /** Most bytes between two frames that are read along rather than left out. */
  readonly gapBytes: number;
}

/**
 * Which file of a plan has the newest version of each page of a window, and where in it. 16 bytes a page, off the JavaScript
 * heap: file 2, offset 6, length 4, and 4 for the order in which the pages are fetched.
 */
export class PageMap {
  #firstPgno = 1;
  #pageCount: number;
  /** Number of the file plus one; 0: no file has the page. */
  readonly #files: Uint16Array;
  readonly #offsetsLow: Uint32Array;
  readonly #offsetsHigh: Uint16Array;
  readonly #lengths: Uint32Array;
  /** Places in the window by file and, within one, by offset. */
  readonly #order: Uint32Array;
  #ends = new Uint32Array(0);

  /** Stands on pages 1 to `pageCount`. */
  constructor(pageCount: number) {
    this.#pageCount = pageCount;
    this.#order = new Uint32Array(pageCount);
    this.#files = new Uint16Array(pageCount);
    this.#offsetsLow = new Uint32Array(pageCount);
    this.#offsetsHigh = new Uint16Array(pageCount);
    this.#lengths = new Uint32Array(pageCount);
  }

  get lastPgno(): number {
    return this.#firstPgno + this.#pageCount - 1;
  }

  /** Forgets all claims and stands on the `pageCount` pages from `firstPgno` on; not more than at first. */
  moveTo(firstPgno: number, pageCount: number): void {
    assert(pageCount <= this.#files.length, 'a window has a fixed size');
    this.#firstPgno = firstPgno;
    this.#pageCount = pageCount;
    this.#files.fill(0);
  }

  /** Notes that file number `file` has page `pgno`. Later files win, whatever the order of the calls. Pages out of the window are none of its business. */
  claim(file: number, pgno: number, offset: number, length: number): void {
    const i = pgno - this.#firstPgno;
    if (i < 0 || i >= this.#pageCount || (this.#files[i] ?? 0) > file) return;
    this.#files[i] = file + 1;
    this.#offsetsLow[i] = offset;
    this.#offsetsHigh[i] = offset / 0x1_0000_0000;
    this.#lengths[i] = length;
  }

  /** The first pages, at most `limit`, that no file has. */
  missing(lockPage: number, limit: number): number[] {
    const pages: number[] = [];
    const files = this.#files.subarray(0, this.#pageCount);
    for (let i = files.indexOf(0); i >= 0 && pages.length < limit; i = files.indexOf(0, i + 1)) {
      if (this.#firstPgno + i !== lockPage) pages.push(this.#firstPgno + i);
    }
    return pages;
  }

  /** Orders the pages for fetching. Called when all claims have been made. */
  sort(fileCount: number): void {
    assert(fileCount <= MAX_MAPPED_FILES, 'file numbers fit 16 bits');
    const next = new Uint32Array(fileCount + 1);
    for (const file of this.#files.subarray(0, this.#pageCount)) next[file] = (next[file] ?? 0) + 1;
    next[0] = 0; // pages without a file are not fetched
    for (let file = 1; file <= fileCount; file++) next[file] = (next[file] ?? 0) + (next[file - 1] ?? 0);
    this.#ends = next.slice();
    next.copyWithin(1, 0); // from ends to starts
    for (let i = 0; i < this.#pageCount; i++) {
      const file = this.#files[i] ?? 0;
      if (file === 0) continue;
      const at = next[file] ?? 0;
      this.#order[at] = i;
      next[file] = at + 1;
    }
  }

  /** What is to be read, file by file from the oldest, in ascending order of offset. */
  *ranges(limits: RangeLimits): Generator<FrameRange> {
    let first = 0;
    for (let file = 0; file + 1 < this.#ends.length; file++) {
      const end = this.#ends[file + 1] ?? 0;
      while (first < end) {
        const range = this.#rangeFrom(file, first, end, limits);
        yield range;
        first += range.count;
      }
    }
  }

  #rangeFrom(file: number, first: number, end: number, limits: RangeLimits): FrameRange {
    const offset = this.offsetAt(first);
    let rangeEnd = offset + this.lengthAt(first);
    let at = first + 1;
    for (; at < end; at++) {
      const start = this.offsetAt(at);
      const frameEnd = start + this.lengthAt(at);
      if (start - rangeEnd > limits.gapBytes || frameEnd - offset > limits.rangeBytes) break;
      rangeEnd = frameEnd;
    }
    return { file, first, count: at - first, offset, length: rangeEnd - offset };
  }

  /** The page at a place of the order. */
  pgnoAt(at: number): number {
    return this.#firstPgno + (this.#order[at] ?? 0);
  }

  offsetAt(at: number): number {
    const i = this.#order[at] ?? 0;
    return (this.#offsetsHigh[i] ?? 0) * 0x1_0000_0000 + (this.#offsetsLow[i] ?? 0);
  }

  lengthAt(at: number): number {
    return this.#lengths[this.#order[at] ?? 0] ?? 0;
  }
}
