import { writeFully } from '../base/durable-file.ts';
import { DISK_FULL_CODES, hasCode, messageOf } from '../base/errors.ts';
import type { AttachedKernel, Kernel, SharedKernel } from '../kernel/kernel.ts';

/** Page frames to decode, and where: pointers into kernel memory. */
export interface PlaceJob {
  readonly source: number;
  /** Of each frame: where in the source it begins, how long it is, and which page it holds. */
  readonly offsets: number;
  readonly lengths: number;
  readonly pgnos: number;
  readonly count: number;
  readonly pages: number;
  readonly pageSize: number;
  readonly hashes: number;
  /** Gets the verdict on a frame that cannot be decoded. */
  readonly info: number;
}

/** Decodes all frames. Returns how many there were, or -(index + 1) of the first that cannot be. */
export function decodeJob({ fn }: Pick<Kernel, 'fn'>, job: PlaceJob): number {
  const { source, offsets, lengths, pgnos, count, pages, pageSize, hashes, info } = job;
  return fn.decode_list(source, offsets, lengths, pgnos, count, pages, pageSize, hashes, info);
}

/** Pages in a row: their place among others, and how many. */
export interface Run {
  readonly from: number;
  readonly count: number;
}

/** The runs of the first `count` page numbers, of those for which `wanted` holds. */
export function* runsOf(pgnos: Uint32Array, count: number, wanted?: (pgno: number) => boolean): Generator<Run> {
  let from = 0;
  let length = 0;
  for (let i = 0; i < count; i++) {
    const pgno = pgnos[i] ?? 0;
    const isWanted = !wanted || wanted(pgno);
    if (length > 0 && (!isWanted || pgno !== (pgnos[i - 1] ?? 0) + 1)) {
      yield { from, count: length };
      length = 0;
    }
    if (!isWanted) continue;
    if (length === 0) from = i;
    length++;
  }
  if (length > 0) yield { from, count: length };
}

/** Writes the first `count` pages of `pages` to where they belong; pages in a row go in one write. */
export function writePages(fd: number, pages: Uint8Array, pgnos: Uint32Array, count: number, pageSize: number): void {
  for (const run of runsOf(pgnos, count)) {
    const bytes = pages.subarray(run.from * pageSize, (run.from + run.count) * pageSize);
    writeFully(fd, bytes, ((pgnos[run.from] ?? 0) - 1) * pageSize);
  }
}

/** What a placing thread is started with. */
export interface PlaceAssignment {
  readonly kernel: SharedKernel;
  readonly fd: number;
}

/** What came of a job: frames decoded (see {@link decodeJob}) and, if all were, written; or a failed write. */
export type PlaceAnswer =
  | { readonly decoded: number }
  | { readonly writeError: { readonly message: string; readonly code: string | undefined } };

/** Does a job to its end. */
export function runPlaceJob(kernel: AttachedKernel, job: PlaceJob, fd: number): PlaceAnswer {
  const { memory } = kernel;
  const decoded = decodeJob(kernel, job);
  if (decoded !== job.count) return { decoded };
  const pages = new Uint8Array(memory, job.pages, job.count * job.pageSize);
  try {
    writePages(fd, pages, new Uint32Array(memory, job.pgnos, job.count), job.count, job.pageSize);
  } catch (error) {
    const code = DISK_FULL_CODES.find((full) => hasCode(error, full));
    return { writeError: { message: messageOf(error), code } };
  }
  return { decoded };
}
