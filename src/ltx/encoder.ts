import { assert } from '../base/errors.ts';
import { CHECKSUM_FLAG, type Checksum, checksum } from '../base/types.ts';
import { kernel, type Region } from '../kernel/kernel.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';
import {
  encodeHeader,
  encodeTrailer,
  HEADER_SIZE,
  INDEX_SIZE_FIELD,
  imagePageCount,
  isSnapshot,
  type LtxHeader,
  PAGE_HEADER_SIZE,
  TRAILER_SIZE,
} from './format.ts';
import { FrameList } from './frame-list.ts';
import { batchCapacity, type PageBatch } from './page-batch.ts';

/** How pages are compressed: `block` is read by Litestream 0.5.16 and later, `frame` by every 0.5. */
export type PageEncoding = 'block' | 'frame';

/** Largest page frame: header, size field or LZ4 frame dressing, and an incompressible page. */
function frameBound(pageSize: number): number {
  return 32 + pageSize + Math.ceil(pageSize / 255) + 16;
}

const LZ4_TABLE_BYTES = 8192;

export interface EncoderOptions {
  /** Bytes a page. */
  readonly pageSize: number;
  /** Pages in the database after this file. */
  readonly commit: number;
  readonly encoding?: PageEncoding;
}

export interface FinishedLtx {
  /** The 100 header bytes: they go to offset 0, last, because the database checksum is known last. */
  readonly head: Uint8Array;
  /** Everything after the page frames, in order. */
  readonly tail: readonly Uint8Array[];
  readonly fileChecksum: Checksum;
  /** Bytes of the whole file. */
  readonly sizeBytes: number;
}

/**
 * Makes one LTX file, a batch of pages at a time, in bounded memory. Pages come in ascending order. The page frames start
 * at offset 100; the header is made by {@link finish}, when everything that it says is known.
 */
export class LtxEncoder {
  readonly #pageSize: number;
  readonly #commit: number;
  readonly #kind: number;
  readonly #frames = new FrameList();
  readonly #capacity: number;
  readonly #output: Region;
  readonly #table: Region;
  readonly #lengths: Region;
  readonly #crc: Region;
  #bytesOut = HEADER_SIZE;
  #hashedBytes = 0;

  constructor(options: EncoderOptions) {
    this.#pageSize = options.pageSize;
    this.#commit = options.commit;
    this.#kind = options.encoding === 'frame' ? 0 : 1;
    this.#capacity = batchCapacity(options.pageSize);
    this.#output = kernel().allocate(this.#capacity * frameBound(options.pageSize));
    this.#table = kernel().allocate(LZ4_TABLE_BYTES);
    this.#lengths = kernel().allocate(this.#capacity * 4);
    this.#crc = kernel().allocate(8);
    this.#crc.u64[0] = 0n;
  }

  get pageCount(): number {
    return this.#frames.count;
  }

  /**
   * Encodes the first `count` pages of a batch and fills its `hashes`. Returns the bytes that come next in the file, valid
   * until the next call.
   */
  encode(batch: PageBatch, count: number): Uint8Array {
    assert(batch.pageSize === this.#pageSize && count <= this.#capacity, 'a batch fits its encoder');
    const { pgnos } = batch;
    const lock = lockPageNumber(this.#pageSize);
    const bytes = kernel().fn.encode_pages(
      this.#kind,
      batch.pages.pointer,
      this.#pageSize,
      count,
      batch.pgnosRegion.pointer,
      this.#output.pointer,
      this.#table.pointer,
      batch.hashesRegion.pointer,
      this.#lengths.pointer,
      this.#crc.pointer,
    );
    const lengths = this.#lengths.u32;
    for (let i = 0; i < count; i++) {
      const page = pgnos[i] ?? 0;
      assert(page >= 1 && page <= this.#commit && page !== lock, `page ${page} can be stored (commit ${this.#commit})`);
      this.#frames.push(page, lengths[i] ?? 0);
    }
    this.#bytesOut += bytes;
    this.#hashedBytes += count * (this.#pageSize + (this.#kind ? PAGE_HEADER_SIZE + 4 : PAGE_HEADER_SIZE));
    return this.#output.bytes.subarray(0, bytes);
  }

  /** Ends the file. `postApplyChecksum` only for files without the NoChecksum flag. */
  finish(header: LtxHeader, postApplyChecksum: Checksum = checksum(0n)): FinishedLtx {
    assert(header.pageSize === this.#pageSize && header.commit === this.#commit, 'the header fits the pages');
    if (isSnapshot(header)) {
      const wanted = imagePageCount(this.#commit, this.#pageSize);
      assert(this.#frames.count === wanted, `a snapshot stores all ${wanted} pages, not ${this.#frames.count}`);
    }
    const tail: Uint8Array[] = [new Uint8Array(PAGE_HEADER_SIZE)];
    let indexBytes = 0;
    for (const chunk of this.#frames.indexChunks(HEADER_SIZE)) {
      tail.push(chunk);
      indexBytes += chunk.length;
    }
    const indexSize = Buffer.alloc(INDEX_SIZE_FIELD);
    indexSize.writeBigUInt64BE(BigInt(indexBytes));
    tail.push(indexSize);
    const unsigned = encodeTrailer({ postApplyChecksum, fileChecksum: checksum(0n) });
    tail.push(unsigned.subarray(0, 8));

    let body = this.#crc.u64[0] ?? 0n;
    let hashed = this.#hashedBytes;
    for (const chunk of tail) {
      body = crcOf(body, chunk);
      hashed += chunk.length;
    }
    const head = encodeHeader(header);
    const { fn } = kernel();
    const fileChecksum = checksum(fn.crc_combine(crcOf(0n, head), body, BigInt(hashed)) | CHECKSUM_FLAG);
    tail.push(encodeTrailer({ postApplyChecksum, fileChecksum }).subarray(8));
    const sizeBytes = this.#bytesOut + PAGE_HEADER_SIZE + indexBytes + INDEX_SIZE_FIELD + TRAILER_SIZE;
    return { head, tail, fileChecksum, sizeBytes };
  }

  [Symbol.dispose](): void {
    for (const region of [this.#output, this.#table, this.#lengths, this.#crc]) region[Symbol.dispose]();
  }
}

/** CRC-64 (ISO) of `bytes`, continued from `crc`. For bytes outside kernel memory, such as headers and indexes. */
export function crcOf(crc: bigint, bytes: Uint8Array): bigint {
  const { fn } = kernel();
  using scratch = kernel().allocate(Math.min(Math.max(bytes.length, 1), 65_536));
  let result = crc;
  for (let at = 0; at < bytes.length; at += scratch.byteLength) {
    const part = bytes.subarray(at, at + scratch.byteLength);
    scratch.bytes.set(part);
    result = BigInt.asUintN(64, fn.crc(result, scratch.pointer, part.length));
  }
  return result;
}
