import { setImmediate } from 'node:timers/promises';
import { readFully } from '../base/durable-file.ts';
import { RivuletError } from '../base/errors.ts';
import { PageBatch } from '../ltx/page-batch.ts';
import type { PageHashes } from '../replica/page-hashes.ts';
import type { StagedDatabase } from './staged-database.ts';

/** Batches between two breaks in which signals and timers get their turn. */
const BATCHES_AT_A_TIME = 8;

export interface ReadBackOptions {
  /** Will hold the hash of every page. */
  readonly hashes: PageHashes;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly signal: AbortSignal;
  onBytes(count: number): void;
}

/** Reads a finished file back and hashes every page: what it proves is proven of the file, not of what was sent to it. */
export async function readBack(staged: StagedDatabase, options: ReadBackOptions): Promise<void> {
  const { pageSize, pageCount, hashes } = options;
  hashes.resize(0);
  hashes.resize(pageCount);
  using batch = new PageBatch(pageSize);
  for (let first = 0, batches = 0; first < pageCount; first += batch.capacity, batches++) {
    if (batches % BATCHES_AT_A_TIME === 0) {
      await setImmediate();
      options.signal.throwIfAborted();
    }
    const count = Math.min(batch.capacity, pageCount - first);
    const bytes = batch.slice(0, count);
    if (readFully(staged.fd, bytes, first * pageSize) !== bytes.length) throw notReadBack(staged.path);
    for (let i = 0; i < count; i++) batch.pgnos[i] = first + i + 1;
    const xor = batch.hash(count);
    hashes.setNew(first + 1, batch.hashes.subarray(0, count), xor);
    options.onBytes(bytes.length);
  }
}

/** The file on this disk is not what was written to it. */
export function notReadBack(path: string): RivuletError {
  return new RivuletError({
    code: 'READ_BACK_DIFFERS',
    message: `${path} does not read back as it was written: this disk, or something else that writes there, is at fault`,
    kept: 'nothing was changed, and the replica is not touched by a restore',
    next: 'check the disk, or restore to another one with -o',
  });
}
