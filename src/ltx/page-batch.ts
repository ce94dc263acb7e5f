import { kernel, type Region } from '../kernel/kernel.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';

/** Bytes of pages that one batch holds: large enough to make reads and calls cheap, small enough for the CPU's cache. */
export const BATCH_BYTES = 1024 * 1024;

/** How many pages of this size one batch holds. */
export function batchCapacity(pageSize: number): number {
  return BATCH_BYTES / pageSize;
}

/**
 * Pages in kernel memory, side by side: page `pgnos[i]` is at byte `i * pageSize`. Read files straight into `bytes`.
 * Dispose of it when done.
 */
export class PageBatch {
  readonly pageSize: number;
  /** Most pages it can hold. */
  readonly capacity: number;
  readonly pages: Region;
  readonly pgnosRegion: Region;
  readonly hashesRegion: Region;
  /** `capacity * pageSize` bytes. */
  readonly bytes: Uint8Array;
  /** Page numbers, one each. */
  readonly pgnos: Uint32Array;
  /** CRC-64 of big-endian page number and page, bit 63 set; filled by {@link hash}, the encoder and the decoder. */
  readonly hashes: BigUint64Array;

  constructor(pageSize: number, capacity = batchCapacity(pageSize)) {
    this.pageSize = pageSize;
    this.capacity = capacity;
    this.pages = kernel().allocate(capacity * pageSize);
    this.pgnosRegion = kernel().allocate(capacity * 4);
    this.hashesRegion = kernel().allocate(capacity * 8);
    this.bytes = this.pages.bytes;
    this.pgnos = this.pgnosRegion.u32;
    this.hashes = this.hashesRegion.u64;
  }

  /** The bytes of `count` pages from page `from` of the batch on. */
  slice(from: number, count: number): Uint8Array {
    return this.bytes.subarray(from * this.pageSize, (from + count) * this.pageSize);
  }

  /** Address of page `i` of the batch in kernel memory. */
  pageAt(i: number): number {
    return this.pages.pointer + i * this.pageSize;
  }

  /** Fills `hashes` for the first `count` pages (0n for the lock page); returns the XOR of them. */
  hash(count: number): bigint {
    const { fn } = kernel();
    const lock = lockPageNumber(this.pageSize);
    const xor = fn.hash_pages(
      this.pages.pointer,
      this.pageSize,
      count,
      this.pgnosRegion.pointer,
      lock,
      this.hashesRegion.pointer,
    );
    return BigInt.asUintN(64, xor);
  }

  /** Moves page `from` to slot `to` (`to <= from`): keeps the chosen pages of a batch side by side. */
  keep(from: number, to: number): void {
    if (from === to) return;
    this.bytes.copyWithin(to * this.pageSize, from * this.pageSize, (from + 1) * this.pageSize);
    this.pgnos[to] = this.pgnos[from] ?? 0;
    this.hashes[to] = this.hashes[from] ?? 0n;
  }

  [Symbol.dispose](): void {
    this.pages[Symbol.dispose]();
    this.pgnosRegion[Symbol.dispose]();
    this.hashesRegion[Symbol.dispose]();
  }
}
