import { assert } from '../base/errors.ts';
import { ScratchChunks } from '../base/scratch-chunks.ts';

const CHUNK_BYTES = 64 * 1024;
const FIRST_CHUNK_BYTES = 4 * 1024;
/** Bytes of the longest varint. */
export const MAX_VARINT_BYTES = 10;

/**
 * The page frames of a file in order, as page number deltas and lengths: about 3 bytes a page, and the list of a huge file
 * waits in a scratch file for the most part. Offsets follow from the lengths. Dispose of it when done.
 */
export class FrameList {
  /** Full chunks; the rest of each is zero. */
  readonly #sealed: ScratchChunks<Uint8Array>;
  #sealedCount = 0;
  #chunk = new Uint8Array(FIRST_CHUNK_BYTES);
  #used = 0;
  #lastPgno = 0;
  #count = 0;

  /** `scratchFolder`: for the scratch file. */
  constructor(scratchFolder: string) {
    this.#sealed = new ScratchChunks(scratchFolder, () => new Uint8Array(CHUNK_BYTES));
  }

  get count(): number {
    return this.#count;
  }

  get lastPgno(): number {
    return this.#lastPgno;
  }

  /** Adds the frame of a page; page numbers ascend. */
  push(pgno: number, length: number): void {
    assert(pgno > this.#lastPgno, 'page frames come in ascending order');
    if (this.#used + 2 * MAX_VARINT_BYTES > this.#chunk.length) this.#makeRoom();
    this.#used = writeVarint(this.#chunk, this.#used, pgno - this.#lastPgno);
    this.#used = writeVarint(this.#chunk, this.#used, length);
    this.#lastPgno = pgno;
    this.#count++;
  }

  /**
   * The page index that LTX stores for these frames, ended by its zero byte, in pieces that are good until the next one.
   * `offset`: of the first frame.
   */
  *indexPieces(offset: number): Generator<Uint8Array> {
    const out = new Uint8Array(CHUNK_BYTES);
    let used = 0;
    let pgno = 0;
    let frameOffset = offset;
    for (let number = 0; number <= this.#sealedCount; number++) {
      const isOpen = number === this.#sealedCount;
      const chunk = (isOpen ? this.#chunk.subarray(0, this.#used) : this.#sealed.read(number)) ?? this.#chunk;
      let at = 0;
      // Two varints an entry, read in place: an object for each would be most of the work.
      const next = (): number => {
        let value = 0;
        for (let scale = 1; ; scale *= 0x80) {
          const byte = chunk[at++] ?? 0;
          value += (byte & 0x7f) * scale;
          if (byte < 0x80) return value;
        }
      };
      while (at < chunk.length) {
        const delta = next();
        if (delta === 0) break; // page numbers ascend: the rest of the chunk is not used
        pgno += delta;
        const length = next();
        if (used + 3 * MAX_VARINT_BYTES > out.length) {
          yield out.subarray(0, used);
          used = 0;
        }
        used = writeVarint(out, used, pgno);
        used = writeVarint(out, used, frameOffset);
        used = writeVarint(out, used, length);
        frameOffset += length;
      }
    }
    out[used++] = 0;
    yield out.subarray(0, used);
  }

  [Symbol.dispose](): void {
    this.#sealed[Symbol.dispose]();
  }

  /** Most files are small: the first chunk grows before it is sealed. */
  #makeRoom(): void {
    if (this.#chunk.length < CHUNK_BYTES) {
      const larger = new Uint8Array(CHUNK_BYTES);
      larger.set(this.#chunk);
      this.#chunk = larger;
      return;
    }
    this.#sealed.write(this.#sealedCount++).set(this.#chunk);
    this.#chunk.fill(0);
    this.#used = 0;
  }
}

/** Writes an unsigned LEB128 varint (up to 2^53 - 1) at `at`; returns the offset after it. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  let next = at;
  for (; rest > 0x7fff_ffff; rest = Math.floor(rest / 0x80)) target[next++] = (rest % 0x80) | 0x80;
  for (; rest >= 0x80; rest >>>= 7) target[next++] = (rest & 0x7f) | 0x80;
  target[next++] = rest;
  return next;
}

/** Reads a varint; `value` is NaN when the bytes end early, or it does not fit 2^53 - 1. */
export function readVarint(bytes: Uint8Array, at: number): { readonly value: number; readonly next: number } {
  let value = 0;
  let scale = 1;
  for (let next = at; next < bytes.length; next++) {
    const byte = bytes[next] ?? 0;
    value += (byte & 0x7f) * scale;
    if (!Number.isSafeInteger(value)) break;
    if (byte < 0x80) return { value, next: next + 1 };
    scale *= 0x80;
  }
  return { value: Number.NaN, next: bytes.length };
}
