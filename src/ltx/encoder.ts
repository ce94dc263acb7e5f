import { assert } from '../base/errors.ts';
import { CHECKSUM_FLAG, type Checksum, checksum } from '../base/types.ts';
import { kernel } from '../kernel/kernel.ts';
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
import type { EncodedPages } from './page-encoder.ts';

export interface EncoderOptions {
  /** Bytes a page. */
  readonly pageSize: number;
  /** Pages in the database after this file. */
  readonly commit: number;
  /** Where a scratch file may be made, for the index of a huge file. */
  readonly scratchFolder: string;
}

export interface FinishedLtx {
  /** The 100 header bytes: they go to offset 0, last, because the database checksum is known last. */
  readonly head: Uint8Array;
  readonly fileChecksum: Checksum;
  /** Bytes of the whole file. */
  readonly sizeBytes: number;
}

/**
 * Puts one LTX file together from encoded pages, in bounded memory. Pages come in ascending order. The page frames start at
 * offset 100; the header is made by {@link finish}, when everything that it says is known. Dispose of it when done.
 */
export class LtxEncoder {
  readonly #pageSize: number;
  readonly #commit: number;
  readonly #frames: FrameList;
  #bytesOut = HEADER_SIZE;
  #hashedBytes = 0;
  #crc = 0n;

  constructor(options: EncoderOptions) {
    this.#pageSize = options.pageSize;
    this.#commit = options.commit;
    this.#frames = new FrameList(options.scratchFolder);
  }

  get pageCount(): number {
    return this.#frames.count;
  }

  /** Takes note of the pages whose frames come next in the file. */
  append(pages: EncodedPages): void {
    const lock = lockPageNumber(this.#pageSize);
    for (let i = 0; i < pages.count; i++) {
      const page = pages.pgnos[i] ?? 0;
      // Asked for every page: the sentence is made only when it is needed.
      if (page < 1 || page > this.#commit || page === lock) {
        assert(false, `page ${page} can be stored (commit ${this.#commit})`);
      }
      this.#frames.push(page, pages.lengths[i] ?? 0);
    }
    this.#crc = kernel().fn.crc_combine(this.#crc, pages.crc, BigInt(pages.hashedBytes));
    this.#bytesOut += pages.bytes.length;
    this.#hashedBytes += pages.hashedBytes;
  }

  /**
   * Ends the file: `write` gets everything after the page frames, in order, in pieces that are good during the call.
   * `postApplyChecksum` only for files without the NoChecksum flag.
   */
  finish(
    header: LtxHeader,
    write: (bytes: Uint8Array) => void,
    postApplyChecksum: Checksum = checksum(0n),
  ): FinishedLtx {
    assert(header.pageSize === this.#pageSize && header.commit === this.#commit, 'the header fits the pages');
    if (isSnapshot(header)) {
      const wanted = imagePageCount(this.#commit, this.#pageSize);
      assert(this.#frames.count === wanted, `a snapshot stores all ${wanted} pages, not ${this.#frames.count}`);
    }
    let crc = this.#crc;
    let hashed = this.#hashedBytes;
    const hash = (bytes: Uint8Array): void => {
      crc = crcOf(crc, bytes);
      hashed += bytes.length;
      write(bytes);
    };
    hash(new Uint8Array(PAGE_HEADER_SIZE));
    let indexBytes = 0;
    for (const piece of this.#frames.indexPieces(HEADER_SIZE)) {
      hash(piece);
      indexBytes += piece.length;
    }
    const indexSize = Buffer.alloc(INDEX_SIZE_FIELD);
    indexSize.writeBigUInt64BE(BigInt(indexBytes));
    hash(indexSize);
    hash(encodeTrailer({ postApplyChecksum, fileChecksum: checksum(0n) }).subarray(0, 8));
    const head = encodeHeader(header);
    const fileChecksum = checksum(kernel().fn.crc_combine(crcOf(0n, head), crc, BigInt(hashed)) | CHECKSUM_FLAG);
    write(encodeTrailer({ postApplyChecksum, fileChecksum }).subarray(8));
    const sizeBytes = this.#bytesOut + PAGE_HEADER_SIZE + indexBytes + INDEX_SIZE_FIELD + TRAILER_SIZE;
    return { head, fileChecksum, sizeBytes };
  }

  [Symbol.dispose](): void {
    this.#frames[Symbol.dispose]();
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
