import { assert } from '../base/errors.ts';
import { kernel, type Region } from '../kernel/kernel.ts';
import { pageFault } from '../ltx/decoder.ts';
import { PageBatch } from '../ltx/page-batch.ts';
import type { LtxFileInfo } from '../replica/replica.ts';
import { DamagedFile } from './damage.ts';
import type { FrameRange, PageMap } from './page-map.ts';
import { decodeJob, type PlaceJob } from './place-job.ts';
import { PlacingThread } from './placing-thread.ts';
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
}

/** Less than this is placed before another thread has started. */
const THREAD_FROM_BYTES = 16 * 1024 * 1024;

/** Memory for a batch on its way from frames to the file. */
class PlaceSlot {
  readonly batch: PageBatch;
  readonly offsets: Region;
  readonly lengths: Region;
  readonly info: Region = kernel().allocate(16);
  /** Resolves when its pages are in the file. */
  done: Promise<void> = Promise.resolve();

  constructor(pageSize: number) {
    this.batch = new PageBatch(pageSize);
    this.offsets = kernel().allocate(this.batch.capacity * 4);
    this.lengths = kernel().allocate(this.batch.capacity * 4);
  }

  job(source: Region, count: number): PlaceJob {
    const { batch } = this;
    return {
      source: source.pointer,
      offsets: this.offsets.pointer,
      lengths: this.lengths.pointer,
      pgnos: batch.pgnosRegion.pointer,
      count,
      pages: batch.pages.pointer,
      pageSize: batch.pageSize,
      hashes: batch.hashesRegion.pointer,
      info: this.info.pointer,
    };
  }

  [Symbol.dispose](): void {
    for (const held of [this.batch, this.offsets, this.lengths, this.info]) held[Symbol.dispose]();
  }
}

/** Decodes page frames that lie in kernel memory and places the pages, on a thread of its own where there are many. */
class FramePlacer {
  readonly #job: ExactFetch;
  readonly #slots: readonly PlaceSlot[];
  readonly #thread: PlacingThread | undefined;

  constructor(job: ExactFetch) {
    this.#job = job;
    const storedBytes = job.files.reduce((sum, { file }) => sum + file.sizeBytes, 0);
    this.#thread = storedBytes >= THREAD_FROM_BYTES ? new PlacingThread(job.staged.fd) : undefined;
    // One is worked on while the next one is filled.
    this.#slots = [new PlaceSlot(job.pageSize), new PlaceSlot(job.pageSize)];
  }

  /** Resolves when all pages of the range are in the file; its memory is free again then. */
  async placeAll({ piece, region }: Fetched<FrameRange>): Promise<void> {
    let turn = 0;
    for (let done = 0; done < piece.count; turn++) {
      const slot = this.#slots[turn % this.#slots.length];
      assert(slot, 'a placer has slots');
      await slot.done;
      const count = Math.min(slot.batch.capacity, piece.count - done);
      this.#list(slot, piece, piece.first + done, count);
      slot.done = this.#place(slot, piece, region, count);
      slot.done.catch(() => undefined); // it is awaited below, perhaps after another one has failed
      done += count;
    }
    await Promise.all(this.#slots.map(({ done }) => done));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread?.[Symbol.asyncDispose]();
    for (const slot of this.#slots) slot[Symbol.dispose]();
  }

  /** Writes down for the kernel which frames to decode: `count` from place `first` of the map's order. */
  #list(slot: PlaceSlot, piece: FrameRange, first: number, count: number): void {
    const { map } = this.#job;
    const { pgnos } = slot.batch;
    const offsets = slot.offsets.u32;
    const lengths = slot.lengths.u32;
    for (let i = 0; i < count; i++) {
      pgnos[i] = map.pgnoAt(first + i);
      offsets[i] = map.offsetAt(first + i) - piece.offset;
      lengths[i] = map.lengthAt(first + i);
    }
  }

  async #place(slot: PlaceSlot, piece: FrameRange, source: Region, count: number): Promise<void> {
    const { staged } = this.#job;
    const { batch } = slot;
    const job = slot.job(source, count);
    if (!this.#thread?.isUp) {
      this.#check(decodeJob(kernel(), job), slot, piece, count);
      staged.place(batch, count);
      return;
    }
    const answer = await this.#thread.run(job);
    if ('writeError' in answer) {
      const { message, code } = answer.writeError;
      throw staged.writeFailed(Object.assign(new Error(message), { code }), count * batch.pageSize);
    }
    this.#check(answer.decoded, slot, piece, count);
    staged.placedElsewhere(batch, count);
  }

  #check(decoded: number, { batch, info }: PlaceSlot, piece: FrameRange, count: number): void {
    if (decoded === count) return;
    const verdict = (info.u32[0] ?? 0) | 0; // signed
    const file = this.#job.files[piece.file]?.file;
    const fault = pageFault(verdict, batch.pgnos[-decoded - 1] ?? 0);
    throw file ? new DamagedFile(file, fault) : fault;
  }
}
