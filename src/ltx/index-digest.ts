import { crcOf } from './encoder.ts';
import { HEADER_SIZE } from './format.ts';
import { MAX_VARINT_BYTES, writeVarint } from './frame-list.ts';

const BUFFER_BYTES = 8 * 1024;

/** Size and CRC-64 of the page index that a file's frames call for, without keeping the index. */
export class IndexDigest {
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #used = 0;
  #size = 0;
  #crc = 0n;
  #offset = HEADER_SIZE;
  #count = 0;

  /** Frames so far. */
  get count(): number {
    return this.#count;
  }

  /** Adds the next frame. */
  push(pgno: number, length: number): void {
    if (this.#used + 3 * MAX_VARINT_BYTES > BUFFER_BYTES) this.#flush();
    this.#used = writeVarint(this.#buffer, this.#used, pgno);
    this.#used = writeVarint(this.#buffer, this.#used, this.#offset);
    this.#used = writeVarint(this.#buffer, this.#used, length);
    this.#offset += length;
    this.#count++;
  }

  /** Ends the index with its zero byte. */
  end(): { readonly size: number; readonly crc: bigint } {
    this.#buffer[this.#used++] = 0;
    this.#flush();
    return { size: this.#size, crc: this.#crc };
  }

  #flush(): void {
    this.#crc = crcOf(this.#crc, this.#buffer.subarray(0, this.#used));
    this.#size += this.#used;
    this.#used = 0;
  }
}
