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
 * Which file of a plan has the newest version of each page, and where in it. 16 bytes a page, off the JavaScript heap:
 * file 2, offset 6, length 4, and 4 for the order in which the pages are fetched.
 */
export class PageMap {
  readonly pageCount: number;
  /** Number of the file plus one; 0: no file has the page. */
  readonly #files: Uint16Array;
  readonly #offsetsLow: Uint32Array;
  readonly #offsetsHigh: Uint16Array;
  readonly #lengths: Uint32Array;
  /** Page numbers by file and, within one, by offset. */
  #order = new Uint32Array(0);
  #ends = new Uint32Array(0);

  constructor(pageCount: number) {
    this.pageCount = pageCount;
    this.#files = new Uint16Array(pageCount);
    this.#offsetsLow = new Uint32Array(pageCount);
    this.#offsetsHigh = new Uint16Array(pageCount);
    this.#lengths = new Uint32Array(pageCount);
  }

  /** Notes that file number `file` has page `pgno`. Later files win, whatever the order of the calls. */
  claim(file: number, pgno: number, offset: number, length: number): void {
    const i = pgno - 1;
    if (i >= this.pageCount || (this.#files[i] ?? 0) > file) return;
    this.#files[i] = file + 1;
    this.#offsetsLow[i] = offset;
    this.#offsetsHigh[i] = offset / 0x1_0000_0000;
    this.#lengths[i] = length;
  }

  /** The first pages, at most `limit`, that no file has. */
  missing(lockPage: number, limit: number): number[] {
    const pages: number[] = [];
    for (let i = this.#files.indexOf(0); i >= 0 && pages.length < limit; i = this.#files.indexOf(0, i + 1)) {
      if (i + 1 !== lockPage) pages.push(i + 1);
    }
    return pages;
  }

  /** Orders the pages for fetching. Called once, when all claims have been made. */
  sort(fileCount: number): void {
    assert(fileCount <= MAX_MAPPED_FILES, 'file numbers fit 16 bits');
    const next = new Uint32Array(fileCount + 1);
    for (const file of this.#files) next[file] = (next[file] ?? 0) + 1;
    next[0] = 0; // pages without a file are not fetched
    for (let file = 1; file <= fileCount; file++) next[file] = (next[file] ?? 0) + (next[file - 1] ?? 0);
    this.#ends = next.slice();
    next.copyWithin(1, 0); // from ends to starts
    this.#order = new Uint32Array(this.#ends[fileCount] ?? 0);
    for (let i = 0; i < this.pageCount; i++) {
      const file = this.#files[i] ?? 0;
      if (file === 0) continue;
      const at = next[file] ?? 0;
      this.#order[at] = i + 1;
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
    return this.#order[at] ?? 0;
  }

  offsetAt(at: number): number {
    const i = this.pgnoAt(at) - 1;
    return (this.#offsetsHigh[i] ?? 0) * 0x1_0000_0000 + (this.#offsetsLow[i] ?? 0);
  }

  lengthAt(at: number): number {
    return this.#lengths[this.pgnoAt(at) - 1] ?? 0;
  }
}
