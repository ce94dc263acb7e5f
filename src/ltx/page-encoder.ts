import { type Kernel, kernel, type Region } from '../kernel/kernel.ts';
import { PAGE_HEADER_SIZE } from './format.ts';
import { batchCapacity, PageBatch } from './page-batch.ts';

/** How pages are compressed: `block` is read by Litestream 0.5.16 and later, `frame` by every 0.5. */
export type PageEncoding = 'block' | 'frame';

/** The page frames of a batch, as they go into a file. */
export interface EncodedPages {
  readonly count: number;
  /** Page numbers, `count` of them. */
  readonly pgnos: Uint32Array;
  /** Their hashes, see PageBatch. */
  readonly hashes: BigUint64Array;
  /** XOR of the hashes. */
  readonly hashXor: bigint;
  /** Bytes of each frame. */
  readonly lengths: Uint32Array;
  /** The frames, side by side; valid until their memory is used again. */
  readonly bytes: Uint8Array;
  /** CRC-64 of what the file checksum covers of them: headers and uncompressed pages. */
  readonly crc: bigint;
  /** How many bytes that CRC is over. */
  readonly hashedBytes: number;
}

const LZ4_TABLE_BYTES = 8192;

/** Largest page frame: header, size field or LZ4 frame dressing, and an incompressible page. */
function frameBound(pageSize: number): number {
  return 32 + pageSize + Math.ceil(pageSize / 255) + 16;
}

/** Where one batch's work lies in kernel memory; plain numbers, so that another thread can be handed it. */
export interface EncodeJob {
  readonly kind: number;
  readonly pageSize: number;
  readonly pages: number;
  readonly pgnos: number;
  readonly hashes: number;
  readonly output: number;
  readonly lengths: number;
  readonly crc: number;
}

/** Encodes the first `count` pages of a job with `table` as scratch; returns the bytes of the frames. */
export function runEncodeJob({ fn }: Pick<Kernel, 'fn'>, job: EncodeJob, count: number, table: number): number {
  return fn.encode_pages(
    job.kind,
    job.pages,
    job.pageSize,
    count,
    job.pgnos,
    job.output,
    table,
    job.hashes,
    job.lengths,
    job.crc,
  );
}

/** Scratch memory of one encoding thread. */
export function encodeTable(): Region {
  return kernel().allocate(LZ4_TABLE_BYTES);
}

/** A batch of pages and the place for its frames. Dispose of it when done. */
export class EncodeSlot {
  readonly batch: PageBatch;
  readonly job: EncodeJob;
  readonly #output: Region;
  readonly #lengths: Region;
  readonly #crc: Region;

  constructor(pageSize: number, encoding: PageEncoding) {
    const capacity = batchCapacity(pageSize);
    this.batch = new PageBatch(pageSize);
    this.#output = kernel().allocate(capacity * frameBound(pageSize));
    this.#lengths = kernel().allocate(capacity * 4);
    this.#crc = kernel().allocate(16);
    this.job = {
      kind: encoding === 'frame' ? 0 : 1,
      pageSize,
      pages: this.batch.pages.pointer,
      pgnos: this.batch.pgnosRegion.pointer,
      hashes: this.batch.hashesRegion.pointer,
      output: this.#output.pointer,
      lengths: this.#lengths.pointer,
      crc: this.#crc.pointer,
    };
  }

  /** Makes ready for a new job. */
  reset(): void {
    this.#crc.u64[0] = 0n;
  }

  /** What a job that ended left here. */
  result(count: number, byteLength: number): EncodedPages {
    const { kind, pageSize } = this.job;
    return {
      count,
      pgnos: this.batch.pgnos,
      hashes: this.batch.hashes,
      lengths: this.#lengths.u32,
      bytes: this.#output.bytes.subarray(0, byteLength),
      crc: this.#crc.u64[0] ?? 0n,
      hashXor: this.#crc.u64[1] ?? 0n,
      hashedBytes: count * (pageSize + (kind ? PAGE_HEADER_SIZE + 4 : PAGE_HEADER_SIZE)),
    };
  }

  [Symbol.dispose](): void {
    this.batch[Symbol.dispose]();
    for (const region of [this.#output, this.#lengths, this.#crc]) region[Symbol.dispose]();
  }
}
