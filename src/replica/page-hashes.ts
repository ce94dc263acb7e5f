import { CHECKSUM_FLAG, type Checksum, checksum } from '../base/types.ts';

/** The pages that one L0 file changed: hash i is that of page `pgnos[i]`. */
export interface HashChanges {
  readonly pgnos: Uint32Array;
  readonly hashes: BigUint64Array;
}

const FIRST_CAPACITY = 1024;

/**
 * The page-hash table: CRC-64 (bit 63 set) of every page of the database as the replica has it, 8 bytes a page, in shared
 * memory off the JavaScript heap. 0n: unknown, or the lock page.
 */
export class PageHashes {
  #table: BigUint64Array;
  #pageCount: number;
  #xor = 0n;

  constructor(pageCount = 0, memory?: ArrayBufferLike) {
    this.#table = memory ? new BigUint64Array(memory) : tableOf(Math.max(pageCount, FIRST_CAPACITY));
    this.#pageCount = pageCount;
    for (let i = 0; i < pageCount; i++) this.#xor ^= this.#table[i] ?? 0n;
  }

  get pageCount(): number {
    return this.#pageCount;
  }

  /** The memory behind the table: hand it to another thread with `pageCount`, and stop using this one. */
  get memory(): ArrayBufferLike {
    return this.#table.buffer;
  }

  /** The hashes of pages 1 to `pageCount`. */
  get values(): BigUint64Array {
    return this.#table.subarray(0, this.#pageCount);
  }

  /** The rolling database checksum: XOR of all hashes, bit 63 set. */
  get databaseChecksum(): Checksum {
    return checksum(this.#xor | CHECKSUM_FLAG);
  }

  /** The hash of a page; 0n outside the table. */
  get(pgno: number): bigint {
    return pgno <= this.#pageCount ? (this.#table[pgno - 1] ?? 0n) : 0n;
  }

  /** Sets the hash of a page within `pageCount`. */
  set(pgno: number, hash: bigint): void {
    this.#xor ^= (this.#table[pgno - 1] ?? 0n) ^ hash;
    this.#table[pgno - 1] = hash;
  }

  /** Sets the hashes of pages that are still unknown, from `first` on; `xor` is the XOR of `values`. */
  setNew(first: number, values: BigUint64Array, xor: bigint): void {
    this.#table.set(values, first - 1);
    this.#xor ^= xor;
  }

  /** The hashes of `count` pages from `first` on, as bytes; shorter where the table ends. */
  bytes(first: number, count: number): Uint8Array {
    const known = this.#table.subarray(first - 1, Math.min(first - 1 + count, this.#pageCount));
    return new Uint8Array(known.buffer, known.byteOffset, known.byteLength);
  }

  /** What {@link databaseChecksum} would be after {@link apply}; changes nothing. */
  checksumAfter(pageCount: number, changes: HashChanges): Checksum {
    let xor = this.#xor;
    for (let pgno = pageCount + 1; pgno <= this.#pageCount; pgno++) xor ^= this.get(pgno);
    for (const [i, pgno] of changes.pgnos.entries()) xor ^= this.get(pgno) ^ (changes.hashes[i] ?? 0n);
    return checksum(xor | CHECKSUM_FLAG);
  }

  /** Makes the table that of a database of `pageCount` pages in which these pages changed. */
  apply(pageCount: number, changes: HashChanges): void {
    this.resize(pageCount);
    for (const [i, pgno] of changes.pgnos.entries()) this.set(pgno, changes.hashes[i] ?? 0n);
  }

  /** Grows (new pages unknown) or shrinks to `pageCount` pages. */
  resize(pageCount: number): void {
    if (pageCount > this.#table.length) {
      const larger = tableOf(Math.max(pageCount, Math.ceil(this.#table.length * 1.25)));
      larger.set(this.values);
      this.#table = larger;
    }
    for (let i = pageCount; i < this.#pageCount; i++) {
      this.#xor ^= this.#table[i] ?? 0n;
      this.#table[i] = 0n;
    }
    this.#pageCount = pageCount;
  }
}

function tableOf(pages: number): BigUint64Array {
  return new BigUint64Array(new SharedArrayBuffer(pages * 8));
}
