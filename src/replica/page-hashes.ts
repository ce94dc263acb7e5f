import { ScratchChunks } from '../base/scratch-chunks.ts';
import { CHECKSUM_FLAG, type Checksum, checksum } from '../base/types.ts';

/** The pages that one L0 file changed: hash i is that of page `pgnos[i]`. */
export interface HashChanges {
  readonly pgnos: Uint32Array;
  readonly hashes: BigUint64Array;
}

const CHUNK_PAGES = 1024;
const NO_HASHES = new BigUint64Array(CHUNK_PAGES);

/**
 * The page-hash table: CRC-64 (bit 63 set) of every page of the database as the replica has it, 8 bytes a page; the table of a
 * large database lies in a scratch file for the most part. 0n: unknown, or the lock page. Dispose of it when done.
 */
export class PageHashes {
  readonly #folder: string;
  readonly #chunks: ScratchChunks<BigUint64Array>;
  #pageCount = 0;
  #xor = 0n;

  /** `folder`: for the scratch file. */
  constructor(folder: string, pageCount = 0) {
    this.#folder = folder;
    this.#chunks = new ScratchChunks(folder, () => new BigUint64Array(CHUNK_PAGES));
    this.#pageCount = pageCount;
  }

  get pageCount(): number {
    return this.#pageCount;
  }

  /** The hashes of pages 1 to `pageCount`, in pieces; each is good until the next one. */
  *pieces(): Generator<BigUint64Array> {
    for (let at = 0; at < this.#pageCount; at += CHUNK_PAGES) {
      yield (this.#chunks.read(at / CHUNK_PAGES) ?? NO_HASHES).subarray(0, this.#pageCount - at);
    }
  }

  /** The rolling database checksum: XOR of all hashes, bit 63 set. */
  get databaseChecksum(): Checksum {
    return checksum(this.#xor | CHECKSUM_FLAG);
  }

  /** The hash of a page; 0n outside the table. */
  get(pgno: number): bigint {
    if (pgno > this.#pageCount) return 0n;
    return this.#chunks.read(Math.floor((pgno - 1) / CHUNK_PAGES))?.[(pgno - 1) % CHUNK_PAGES] ?? 0n;
  }

  /** Sets the hash of a page within `pageCount`. */
  set(pgno: number, hash: bigint): void {
    const values = this.#chunks.write(Math.floor((pgno - 1) / CHUNK_PAGES));
    const at = (pgno - 1) % CHUNK_PAGES;
    this.#xor ^= (values[at] ?? 0n) ^ hash;
    values[at] = hash;
  }

  /** Sets the hashes of pages that are still unknown, from `first` on; `xor` is the XOR of them. */
  setNew(first: number, hashes: BigUint64Array, xor: bigint): void {
    this.#xor ^= xor;
    for (let done = 0; done < hashes.length; ) {
      const page = first - 1 + done;
      const part = hashes.subarray(done, done + CHUNK_PAGES - (page % CHUNK_PAGES));
      this.#chunks.write(Math.floor(page / CHUNK_PAGES)).set(part, page % CHUNK_PAGES);
      done += part.length;
    }
  }

  /** True when these are the hashes of the pages from `first` on. */
  matches(first: number, hashes: BigUint64Array): boolean {
    if (first - 1 + hashes.length > this.#pageCount) return false;
    for (let done = 0; done < hashes.length; ) {
      const page = first - 1 + done;
      const part = hashes.subarray(done, done + CHUNK_PAGES - (page % CHUNK_PAGES));
      const known = this.#chunks.read(Math.floor(page / CHUNK_PAGES)) ?? NO_HASHES;
      const at = page % CHUNK_PAGES;
      if (Buffer.compare(bytesOf(known.subarray(at, at + part.length)), bytesOf(part)) !== 0) return false;
      done += part.length;
    }
    return true;
  }

  /** A second table with the same hashes. */
  copy(): PageHashes {
    const copy = new PageHashes(this.#folder, this.#pageCount);
    for (const index of this.#chunks.indexes) {
      const values = this.#chunks.read(index)?.slice();
      if (values) copy.#chunks.write(index).set(values);
    }
    copy.#xor = this.#xor;
    return copy;
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
    for (let pgno = pageCount + 1; pgno <= this.#pageCount; pgno++) this.set(pgno, 0n);
    this.#chunks.drop(Math.ceil(pageCount / CHUNK_PAGES));
    this.#pageCount = pageCount;
  }

  [Symbol.dispose](): void {
    this.#chunks[Symbol.dispose]();
  }
}

function bytesOf(hashes: BigUint64Array): Uint8Array {
  return new Uint8Array(hashes.buffer, hashes.byteOffset, hashes.byteLength);
}
