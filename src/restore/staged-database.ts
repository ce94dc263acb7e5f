import * as fs from 'node:fs';
import { stagingPath, writeFully, writeFullyInBackground } from '../base/durable-file.ts';
import { DISK_FULL_CODES, hasCode, RivuletError } from '../base/errors.ts';
import type { PageBatch } from '../ltx/page-batch.ts';
import type { FileOwner } from './target.ts';

/** Permissions of a database that replaces none, before the umask: what SQLite gives to a database that it creates. */
const NEW_DATABASE_MODE = 0o644;

/** After so many bytes the disk is set to work, while more are fetched: it then has little left to do at the end. */
const FLUSH_AHEAD_BYTES = 64 * 1024 * 1024;

/** Shorter rows of pages are written at once: to hand them to another thread would take longer. */
const BACKGROUND_BYTES = 64 * 1024;

/** Pages in a row: their place in a batch, and how many. */
interface Run {
  readonly from: number;
  readonly count: number;
}

/** The database in the making: a file beside the target, so that it can be renamed there. */
export class StagedDatabase {
  readonly path: string;
  readonly #targetPath: string;
  readonly #fd: number;
  #open = true;
  #placed = 0;
  #checksum = 0n;
  #unflushedBytes = 0;
  #flushing: Promise<void> | undefined;
  /** Of a flush ahead. The system tells each failure once, so the last flush would not hear of it. */
  #flushError: unknown;

  /** `owner`: of the file that it will replace; its permissions are taken over. */
  constructor(targetPath: string, owner: FileOwner | undefined) {
    this.#targetPath = targetPath;
    this.path = stagingPath(targetPath);
    staging.add(this.path);
    // Opened with no more rights than the result will have, and only then given those of the old file.
    this.#fd = fs.openSync(this.path, 'wx+', owner ? 0o600 : NEW_DATABASE_MODE);
    try {
      if (owner) this.#adopt(owner);
    } catch (error) {
      this.#remove();
      throw error;
    }
  }

  get fd(): number {
    return this.#fd;
  }

  /** Pages placed so far. */
  get placed(): number {
    return this.#placed;
  }

  /** XOR of the hashes of the pages placed so far. */
  get checksum(): bigint {
    return this.#checksum;
  }

  /** Empties the file and gives it its final size. */
  start(sizeBytes: number): void {
    this.#placed = 0;
    this.#checksum = 0n;
    fs.ftruncateSync(this.#fd, 0);
    this.#checkRoom(sizeBytes);
    this.#writing(sizeBytes, () => fs.ftruncateSync(this.#fd, sizeBytes));
  }

  /** Writes those of the first `count` pages of a batch for which `wanted` holds; pages in a row go in one write. */
  place(batch: PageBatch, count: number, wanted?: (pgno: number) => boolean): void {
    for (const run of this.#runs(batch, count, wanted)) this.#writeRun(batch, run);
  }

  /** Writes the first `count` pages of a batch, long rows of them in the background: until then the batch must stay as it is. */
  async placeInBackground(batch: PageBatch, count: number): Promise<void> {
    for (const run of this.#runs(batch, count)) {
      if (run.count * batch.pageSize < BACKGROUND_BYTES) this.#writeRun(batch, run);
      else await this.#writeRunInBackground(batch, run);
    }
  }

  /** Pages in a row, of those for which `wanted` holds. Counts their hashes in. */
  *#runs(batch: PageBatch, count: number, wanted?: (pgno: number) => boolean): Generator<Run> {
    let from = 0;
    let length = 0;
    for (let i = 0; i < count; i++) {
      const pgno = batch.pgnos[i] ?? 0;
      const isWanted = !wanted || wanted(pgno);
      if (length > 0 && (!isWanted || pgno !== (batch.pgnos[i - 1] ?? 0) + 1)) {
        yield { from, count: length };
        length = 0;
      }
      if (!isWanted) continue;
      if (length === 0) from = i;
      length++;
      this.#checksum ^= batch.hashes[i] ?? 0n;
    }
    if (length > 0) yield { from, count: length };
  }

  /** Makes what was written durable. The file stays readable meanwhile. */
  async sync(): Promise<void> {
    await this.#flushing;
    if (this.#flushError !== undefined) throw this.#explained(this.#flushError);
    await new Promise<void>((resolve, reject) => {
      fs.fsync(this.#fd, (error) => (error ? reject(this.#explained(error)) : resolve()));
    });
  }

  /** Ends the work on the file, which stays. */
  async close(): Promise<void> {
    await this.#flushing;
    this.#close();
  }

  /** Ends the work on the file and removes it, unless it has been moved to its place. */
  async discard(): Promise<void> {
    await this.#flushing;
    this.#remove();
  }

  #close(): void {
    if (!this.#open) return;
    this.#open = false;
    fs.closeSync(this.#fd);
  }

  #remove(): void {
    this.#close();
    fs.rmSync(this.path, { force: true });
    staging.delete(this.path);
  }

  #writeRun(batch: PageBatch, { from, count }: Run): void {
    const bytes = batch.slice(from, count);
    this.#writing(bytes.length, () => writeFully(this.#fd, bytes, positionOf(batch, from)));
    this.#wrote(count, bytes.length);
  }

  async #writeRunInBackground(batch: PageBatch, { from, count }: Run): Promise<void> {
    const bytes = batch.slice(from, count);
    try {
      await writeFullyInBackground(this.#fd, bytes, positionOf(batch, from));
    } catch (error) {
      throw this.#explained(error, bytes.length);
    }
    this.#wrote(count, bytes.length);
  }

  #wrote(pageCount: number, bytes: number): void {
    this.#placed += pageCount;
    this.#flushAhead(bytes);
  }

  /** Never more than one at a time, and the file is not closed before it has ended. */
  #flushAhead(writtenBytes: number): void {
    this.#unflushedBytes += writtenBytes;
    if (this.#flushing || this.#unflushedBytes < FLUSH_AHEAD_BYTES) return;
    this.#unflushedBytes = 0;
    this.#flushing = new Promise((resolve) => {
      fs.fdatasync(this.#fd, (error) => {
        this.#flushError ??= error ?? undefined;
        this.#flushing = undefined;
        resolve();
      });
    });
  }

  #writing(sizeBytes: number, write: () => void): void {
    try {
      write();
    } catch (error) {
      throw this.#explained(error, sizeBytes);
    }
  }

  /** A disk that is filled to its last byte harms whatever else lives there: better not to begin. */
  #checkRoom(sizeBytes: number): void {
    // What is reserved for root is not for a database, even if root restores it.
    const { blocks, bsize, bavail } = fs.statfsSync(this.path);
    const freeBytes = bsize * bavail;
    // Some network file systems do not know their size and say 0.
    if (blocks > 0 && freeBytes < sizeBytes) {
      throw diskFull(this.#targetPath, `it needs ${sizeBytes} bytes and ${freeBytes} are free`);
    }
  }

  #explained(error: unknown, sizeBytes = 0): unknown {
    if (!hasCode(error, ...DISK_FULL_CODES)) return error;
    return diskFull(
      this.#targetPath,
      `no room for ${sizeBytes > 0 ? `${sizeBytes} more bytes` : 'its last bytes'}`,
      error,
    );
  }

  /** The old file's owner can be kept only by root; its permissions always. */
  #adopt(owner: FileOwner): void {
    if (process.geteuid?.() === 0) fs.fchownSync(this.#fd, owner.uid, owner.gid);
    fs.fchmodSync(this.#fd, owner.mode);
  }
}

/** Where in the file the page at this place of a batch belongs. */
function positionOf(batch: PageBatch, index: number): number {
  return ((batch.pgnos[index] ?? 0) - 1) * batch.pageSize;
}

/** Files that restores of this process are writing. */
const staging = new Set<string>();

export function isBeingStaged(path: string): boolean {
  return staging.has(path);
}

function diskFull(targetPath: string, what: string, cause?: unknown): RivuletError {
  return new RivuletError({
    code: 'DISK_FULL',
    message: `the disk is full: ${targetPath} cannot be restored, ${what}`,
    kept: `nothing was changed: ${targetPath} is as it was`,
    next: 'make room on that disk, or restore to another one with -o',
    cause,
  });
}
