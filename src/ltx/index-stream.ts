import { lockPageNumber } from '../sqlite/lock-page.ts';
import { HEADER_SIZE, type LtxHeader, PAGE_HEADER_SIZE } from './format.ts';
import { LtxError } from './ltx-error.ts';
import type { IndexLocation } from './page-index.ts';

/** Is told of every page frame, in ascending order of page number and offset. */
export type FrameVisitor = (pgno: number, offset: number, length: number) => void;

/**
 * Reads a page index in pieces, so that the index of a huge file needs no memory of its own, and as far as it is asked to.
 * Checks it: ascending pages that can be stored, frames side by side from the header to the end of the page block.
 */
export class IndexStream {
  readonly #commit: number;
  readonly #lockPage: number;
  readonly #location: IndexLocation;
  readonly #visit: FrameVisitor;
  #value = 0;
  #scale = 1;
  #field = 0; // of the entry: 0 page number, 1 offset, 2 length
  #pgno = 0;
  #last = 0;
  #expected = HEADER_SIZE;
  #count = 0;
  #bytes = 0;
  #ended = false;

  constructor(location: IndexLocation, header: Pick<LtxHeader, 'pageSize' | 'commit'>, visit: FrameVisitor) {
    this.#location = location;
    this.#commit = header.commit;
    this.#lockPage = lockPageNumber(header.pageSize);
    this.#visit = visit;
  }

  /** True while there may be frames of pages up to `until` that were not told of yet. */
  hasUpTo(until: number): boolean {
    return !this.#ended && !(this.#field === 1 && this.#pgno > until);
  }

  /** Bytes read so far: those that come next are at this offset of the index. */
  get bytesRead(): number {
    return this.#bytes;
  }

  /** Reads the next bytes, up to the frames of pages after `until`. How many it has taken, {@link bytesRead} says. */
  push(bytes: Uint8Array, until: number = Number.POSITIVE_INFINITY): void {
    let value = this.#value;
    let scale = this.#scale;
    let i = 0;
    while (i < bytes.length && (this.#field !== 1 || this.#pgno <= until)) {
      const byte = bytes[i++] ?? 0;
      if (this.#ended) throw new LtxError('index', 'bytes after its end');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        this.#take(value);
        value = 0;
        scale = 1;
      } else {
        scale *= 0x80;
        if (scale > Number.MAX_SAFE_INTEGER) throw this.#wrong('a number is too large');
      }
    }
    this.#value = value;
    this.#scale = scale;
    this.#bytes += i;
  }

  /** Says that all pieces have been pushed. */
  end(): void {
    if (!this.#ended || this.#bytes !== this.#location.size) {
      throw new LtxError('truncated', `index: ${this.#bytes} of ${this.#location.size} bytes, and no end in them`);
    }
    if (this.#expected + PAGE_HEADER_SIZE !== this.#location.offset) {
      throw new LtxError('index', 'its frames do not fill the page block of the file');
    }
  }

  #take(value: number): void {
    if (this.#field === 0) {
      this.#takePgno(value);
    } else if (this.#field === 1) {
      if (value !== this.#expected) throw this.#wrong(`page ${this.#pgno} is not where its frame must be`);
      this.#field = 2;
    } else {
      this.#takeLength(value);
    }
  }

  #takePgno(pgno: number): void {
    if (pgno === 0) {
      this.#ended = true;
      return;
    }
    if (!(pgno > this.#last && pgno <= this.#commit && pgno !== this.#lockPage)) {
      throw this.#wrong(`page ${pgno} cannot come after page ${this.#last} here`);
    }
    this.#pgno = pgno;
    this.#field = 1;
  }

  #takeLength(length: number): void {
    if (length <= PAGE_HEADER_SIZE || this.#expected + length > this.#location.offset) {
      throw this.#wrong(`the frame of page ${this.#pgno} cannot be ${length} bytes long`);
    }
    this.#visit(this.#pgno, this.#expected, length);
    this.#expected += length;
    this.#last = this.#pgno;
    this.#count++;
    this.#field = 0;
  }

  #wrong(what: string): LtxError {
    return new LtxError('index', `entry ${this.#count + 1}: ${what}`);
  }
}
