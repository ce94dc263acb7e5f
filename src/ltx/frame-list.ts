import { assert } from '../base/errors.ts';

const CHUNK_BYTES = 64 * 1024;
const MAX_VARINT_BYTES = 10;

/**
 * The page frames of a file in order, as page number deltas and lengths: about 3 bytes a page, so that even the index of
 * a huge image stays small until it is written. Offsets follow from the lengths.
 */
export class FrameList {
  readonly #chunks: Uint8Array[] = [];
  #chunk = new Uint8Array(0);
  #used = 0;
  #lastPgno = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get lastPgno(): number {
    return this.#lastPgno;
  }

  /** Adds the frame of a page; page numbers ascend. */
  push(pgno: number, length: number): void {
    assert(pgno > this.#lastPgno, 'page frames come in ascending order');
    if (this.#used + 2 * MAX_VARINT_BYTES > this.#chunk.length) {
      this.#seal();
      this.#chunk = new Uint8Array(CHUNK_BYTES);
      this.#used = 0;
    }
    this.#used = writeVarint(this.#chunk, this.#used, pgno - this.#lastPgno);
    this.#used = writeVarint(this.#chunk, this.#used, length);
    this.#lastPgno = pgno;
    this.#count++;
  }

  /** The page index that LTX stores for these frames, ended by its zero byte, in chunks. `offset`: of the first frame. */
  *indexChunks(offset: number): Generator<Uint8Array> {
    let out = new Uint8Array(CHUNK_BYTES);
    let used = 0;
    let pgno = 0;
    let frameOffset = offset;
    this.#seal();
    for (const chunk of this.#chunks) {
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
        pgno += next();
        const length = next();
        if (used + 3 * MAX_VARINT_BYTES > out.length) {
          yield out.subarray(0, used);
          out = new Uint8Array(CHUNK_BYTES);
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

  #seal(): void {
    if (this.#used > 0) this.#chunks.push(this.#chunk.subarray(0, this.#used));
    this.#chunk = new Uint8Array(0);
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
