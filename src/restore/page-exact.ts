import { kernel, type Region } from '../kernel/kernel.ts';
import { pageFault } from '../ltx/decoder.ts';
import { PageBatch } from '../ltx/page-batch.ts';
import type { LtxFileInfo } from '../replica/replica.ts';
import { DamagedFile } from './damage.ts';
import type { FrameRange, PageMap } from './page-map.ts';
import type { PlannedIndex } from './planned-file.ts';
import { type Fetched, type PrefetchOptions, prefetch } from './prefetch.ts';
import { type ReadContext, readRange } from './range-reader.ts';
import type { StagedDatabase } from './staged-database.ts';

/** A gap between two needed frames that is cheaper to read along than to ask around. */
export const MAX_GAP_BYTES = 64 * 1024;

/** A planned file, its page index once that is open, and its bytes where those came along with it. */
export interface MappedFile {
  readonly file: LtxFileInfo;
  index: PlannedIndex | undefined;
  whole: Uint8Array | undefined;
}

export interface ExactFetch {
  readonly files: readonly MappedFile[];
  readonly map: PageMap;
  readonly pageSize: number;
  readonly staged: StagedDatabase;
  readonly context: ReadContext;
  readonly prefetch: PrefetchOptions;
  /** Told of the bytes of the pages as they are placed. */
  onPages(bytes: number): void;
}

/** Fetches just the newest version of every page, and places it. Proves no more than that each frame holds its page. */
export async function fetchPages(job: ExactFetch): Promise<void> {
  const { map, context } = job;
  const limits = { rangeBytes: job.prefetch.bufferBytes, gapBytes: MAX_GAP_BYTES };
  const ranges = prefetch(map.ranges(limits), job.prefetch, async (range, target, signal) => {
    const mapped = job.files[range.file];
    if (mapped?.whole) target.set(mapped.whole.subarray(range.offset, range.offset + range.length));
    else await readRange({ ...context, signal }, mapped?.file.key ?? '', range.offset, target);
  });
  await using placer = new FramePlacer(job);
  for await (const range of ranges) {
    await placer.placeAll(range);
    job.onPages(range.piece.count * job.pageSize);
  }
  await placer.end();
}

/** Decodes page frames that lie in kernel memory and places the pages: while one batch is written, the next one is decoded. */
class FramePlacer {
  readonly #job: ExactFetch;
  #batch: PageBatch;
  /** The one that is being written. */
  #other: PageBatch;
  #writing: Promise<void> = Promise.resolve();
  readonly #offsets: Region;
  readonly #lengths: Region;
  readonly #info: Region = kernel().allocate(16);

  constructor(job: ExactFetch) {
    this.#job = job;
    this.#batch = new PageBatch(job.pageSize);
    this.#other = new PageBatch(job.pageSize);
    this.#offsets = kernel().allocate(this.#batch.capacity * 4);
    this.#lengths = kernel().allocate(this.#batch.capacity * 4);
  }

  async placeAll({ piece, region }: Fetched<FrameRange>): Promise<void> {
    for (let done = 0; done < piece.count; done += this.#batch.capacity) {
      const count = Math.min(this.#batch.capacity, piece.count - done);
      this.#list(piece, piece.first + done, count);
      this.#decode(piece, region, count);
      await this.#writing;
      this.#writing = this.#job.staged.placeInBackground(this.#batch, count);
      this.#writing.catch(() => undefined); // it is awaited before the next one, or at the end
      [this.#batch, this.#other] = [this.#other, this.#batch];
    }
  }

  /** Resolves when all pages are written. */
  end(): Promise<void> {
    return this.#writing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // However this ends, memory that is being written from is not given back.
    await this.#writing.catch(() => undefined);
    const regions = [this.#offsets, this.#lengths, this.#info];
    for (const held of [this.#batch, this.#other, ...regions]) held[Symbol.dispose]();
  }

  /** Writes down for the kernel which frames to decode: `count` from place `first` of the map's order. */
  #list(piece: FrameRange, first: number, count: number): void {
    const { map } = this.#job;
    const { pgnos } = this.#batch;
    const offsets = this.#offsets.u32;
    const lengths = this.#lengths.u32;
    for (let i = 0; i < count; i++) {
      pgnos[i] = map.pgnoAt(first + i);
      offsets[i] = map.offsetAt(first + i) - piece.offset;
      lengths[i] = map.lengthAt(first + i);
    }
  }

  #decode(piece: FrameRange, source: Region, count: number): void {
    const batch = this.#batch;
    const decoded = kernel().fn.decode_list(
      source.pointer,
      this.#offsets.pointer,
      this.#lengths.pointer,
      batch.pgnosRegion.pointer,
      count,
      batch.pages.pointer,
      batch.pageSize,
      batch.hashesRegion.pointer,
      this.#info.pointer,
    );
    if (decoded === count) return;
    const verdict = (this.#info.u32[0] ?? 0) | 0; // signed
    const file = this.#job.files[piece.file]?.file;
    const fault = pageFault(verdict, batch.pgnos[-decoded - 1] ?? 0);
    throw file ? new DamagedFile(file, fault) : fault;
  }
}
