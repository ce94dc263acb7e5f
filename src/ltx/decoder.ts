import { assert } from '../base/errors.ts';
import { CHECKSUM_FLAG } from '../base/types.ts';
import { kernel, type Region } from '../kernel/kernel.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';
import { crcOf } from './encoder.ts';
import {
  decodeHeader,
  decodeTrailer,
  HEADER_SIZE,
  INDEX_SIZE_FIELD,
  imagePageCount,
  isSnapshot,
  type LtxHeader,
  type LtxTrailer,
  maxFrameBytes,
  TRAILER_SIZE,
} from './format.ts';
import { IndexDigest } from './index-digest.ts';
import { LtxError } from './ltx-error.ts';
import { PageBatch } from './page-batch.ts';

/** Bytes of input that a decoder holds: several page frames of any page size. */
const INPUT_BYTES = 1024 * 1024;

/** What is wrong with a page frame, by the kernels' verdict. */
const VERDICTS: Readonly<Record<number, string>> = {
  [-1]: 'its frame ends early',
  [-2]: 'unknown page flags',
  [-3]: 'compressed size out of range',
  [-4]: 'its data is not a compressed page',
  [-5]: 'page numbers do not ascend',
  [-6]: 'not a page that can be stored here',
  [-7]: "its LZ4 frame's checksum does not fit",
};

/** A kernel's verdict on a page frame as an error. */
export function pageFault(verdict: number, pgno: number): LtxError {
  return new LtxError('page', `page ${pgno}: ${VERDICTS[verdict] ?? `verdict ${verdict}`}`);
}

/** What {@link LtxDecoder.next} found: `pages` valid until the next call; `more`: fill {@link LtxDecoder.room}. */
export type DecodeStep =
  | { readonly kind: 'pages'; readonly count: number; readonly batch: PageBatch }
  | { readonly kind: 'more' }
  | { readonly kind: 'done'; readonly trailer: LtxTrailer };

type Stage = 'header' | 'pages' | 'index' | 'trailer' | 'done';

/**
 * Reads one LTX file as its bytes arrive, in bounded memory, and proves it: fields, order, page index and file checksum.
 * Fill `room()`, say so with `advance`, and call `next` until it asks for more; `end` once the bytes are over. Pages are
 * to be trusted only once the step `done` has been returned.
 */
export class LtxDecoder {
  readonly #input: Region = kernel().allocate(INPUT_BYTES);
  readonly #info: Region = kernel().allocate(16);
  readonly #crc: Region = kernel().allocate(8);
  readonly #frames = new IndexDigest();
  #batch: PageBatch | undefined;
  #lengths: Region | undefined;
  #header: LtxHeader | undefined;
  #stage: Stage = 'header';
  #start = 0;
  #end = 0;
  #ended = false;
  /** The page index that the frames call for. */
  #expected = { size: 0, crc: 0n };
  #indexBytes = 0;
  #indexCrc = 0n;
  #pageXor = 0n;

  constructor() {
    this.#crc.u64[0] = 0n;
    this.#info.u32[3] = 0;
  }

  /** The header, once enough bytes have come. */
  get header(): LtxHeader | undefined {
    return this.#header;
  }

  /** Where the next bytes of the file go. Never empty after a `next` that answered `more`. */
  room(): Uint8Array {
    if (this.#start > INPUT_BYTES / 2 || (this.#start > 0 && this.#end === INPUT_BYTES)) {
      this.#input.bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return this.#input.bytes.subarray(this.#end);
  }

  /** Says that `bytes` bytes have been put into `room()`. */
  advance(bytes: number): void {
    assert(!this.#ended && bytes <= INPUT_BYTES - this.#end, 'input fits the room that was given');
    this.#end += bytes;
  }

  /** Says that the file has no more bytes. */
  end(): void {
    this.#ended = true;
  }

  next(): DecodeStep {
    for (;;) {
      const step = this.#step();
      if (step === 'again') continue;
      if (step.kind === 'more' && this.#ended) throw new LtxError('truncated', `the file ends in its ${this.#stage}`);
      return step;
    }
  }

  [Symbol.dispose](): void {
    this.#batch?.[Symbol.dispose]();
    this.#lengths?.[Symbol.dispose]();
    for (const region of [this.#input, this.#info, this.#crc]) region[Symbol.dispose]();
  }

  #step(): DecodeStep | 'again' {
    switch (this.#stage) {
      case 'header':
        return this.#readHeader();
      case 'pages':
        return this.#readPages();
      case 'index':
        return this.#readIndex();
      case 'trailer':
        return this.#readTrailer();
      case 'done':
        throw new LtxError('trailing', 'bytes after the trailer');
    }
  }

  #readHeader(): DecodeStep | 'again' {
    if (this.#end - this.#start < HEADER_SIZE) return { kind: 'more' };
    const bytes = this.#take(HEADER_SIZE);
    this.#header = decodeHeader(bytes);
    this.#crc.u64[0] = crcOf(0n, bytes);
    this.#batch = new PageBatch(this.#header.pageSize);
    this.#lengths = kernel().allocate(this.#batch.capacity * 4);
    this.#stage = 'pages';
    return 'again';
  }

  #readPages(): DecodeStep | 'again' {
    const header = this.#header;
    const batch = this.#batch;
    const lengths = this.#lengths;
    assert(header && batch && lengths, 'pages come after the header');
    const info = this.#info.u32;
    const count = kernel().fn.decode_stream(
      this.#input.pointer + this.#start,
      this.#end - this.#start,
      batch.pages.pointer,
      header.pageSize,
      batch.capacity,
      header.commit,
      lockPageNumber(header.pageSize),
      batch.pgnosRegion.pointer,
      lengths.pointer,
      batch.hashesRegion.pointer,
      this.#crc.pointer,
      this.#info.pointer,
    );
    const lengthOf = lengths.u32;
    for (let i = 0; i < count; i++) {
      this.#frames.push(batch.pgnos[i] ?? 0, lengthOf[i] ?? 0);
      this.#pageXor ^= batch.hashes[i] ?? 0n;
    }
    this.#start += info[1] ?? 0;
    const verdict = (info[0] ?? 0) | 0;
    if (verdict !== 0) throw pageFault(verdict, this.#pgnoAt(this.#start));
    if (info[2] === 1) {
      this.#expected = this.#frames.end();
      this.#stage = 'index';
      if (count === 0) return 'again';
    }
    if (count > 0) return { kind: 'pages', count, batch };
    if (this.#end - this.#start > maxFrameBytes(header.pageSize)) {
      throw new LtxError('page', `page ${this.#pgnoAt(this.#start)}: its frame is longer than one can be`);
    }
    return { kind: 'more' };
  }

  /** The index must be the one that the page frames call for. */
  #readIndex(): DecodeStep | 'again' {
    const { size, crc } = this.#expected;
    while (this.#indexBytes < size) {
      const n = Math.min(size - this.#indexBytes, this.#end - this.#start);
      if (n === 0) return { kind: 'more' };
      const bytes = this.#take(n);
      this.#indexCrc = crcOf(this.#indexCrc, bytes);
      this.#hash(bytes);
      this.#indexBytes += n;
    }
    if (this.#indexCrc !== crc) {
      throw new LtxError('index', 'the page index does not describe the page frames of this file');
    }
    this.#stage = 'trailer';
    return 'again';
  }

  #readTrailer(): DecodeStep | 'again' {
    const header = this.#header;
    assert(header, 'the trailer comes after the header');
    if (this.#end - this.#start < INDEX_SIZE_FIELD + TRAILER_SIZE) return { kind: 'more' };
    const sizeField = this.#take(INDEX_SIZE_FIELD);
    if (Buffer.from(sizeField).readBigUInt64BE() !== BigInt(this.#indexBytes)) {
      throw new LtxError('index', 'the size of the page index is wrong');
    }
    this.#hash(sizeField);
    const bytes = this.#take(TRAILER_SIZE);
    this.#hash(bytes.subarray(0, 8));
    const trailer = decodeTrailer(bytes, header);
    if (((this.#crc.u64[0] ?? 0n) | CHECKSUM_FLAG) !== trailer.fileChecksum) {
      throw new LtxError('checksum', 'the file checksum does not fit the contents');
    }
    if (this.#end > this.#start) throw new LtxError('trailing', 'bytes after the trailer');
    this.#checkSnapshot(header, trailer);
    this.#stage = 'done';
    return { kind: 'done', trailer };
  }

  #checkSnapshot(header: LtxHeader, trailer: LtxTrailer): void {
    if (!isSnapshot(header)) return;
    const wanted = imagePageCount(header.commit, header.pageSize);
    if (this.#frames.count !== wanted) {
      throw new LtxError(
        'page',
        `a snapshot of ${header.commit} pages must store ${wanted}, not ${this.#frames.count}`,
      );
    }
    const content = this.#pageXor | CHECKSUM_FLAG;
    if (trailer.postApplyChecksum !== 0n && trailer.postApplyChecksum !== content) {
      throw new LtxError('checksum', 'the post-apply checksum does not fit the pages');
    }
    if (header.databaseChecksum !== 0n && header.databaseChecksum !== content) {
      throw new LtxError('checksum', 'the database checksum does not fit the pages');
    }
  }

  #take(bytes: number): Uint8Array {
    const taken = this.#input.bytes.subarray(this.#start, this.#start + bytes);
    this.#start += bytes;
    return taken;
  }

  #hash(bytes: Uint8Array): void {
    this.#crc.u64[0] = crcOf(this.#crc.u64[0] ?? 0n, bytes);
  }

  #pgnoAt(at: number): number {
    return Buffer.from(this.#input.bytes.subarray(at, at + 4)).readUInt32BE();
  }
}
