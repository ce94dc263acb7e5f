import * as fs from 'node:fs';
import { makeFolders, readFully, stagingPath, writeFully } from './durable-file.ts';
import { messageOf, RivuletError } from './errors.ts';

/** Chunks of this thread that are kept in memory, in bytes; what was used longest ago goes to scratch files. */
export const CHUNK_MEMORY_BYTES = 16 * 1024 * 1024;

/** What a chunk is made of: a typed array of a fixed length, zeroed when new. */
export type ChunkValues = Uint8Array | Uint32Array | BigUint64Array;

interface Chunk<T extends ChunkValues> {
  readonly owner: ScratchChunks<T>;
  readonly index: number;
  readonly values: T;
  /** Differs from what the scratch file holds. */
  dirty: boolean;
}

/** Chunks in memory of all owners in this thread, the one used longest ago first. */
const resident = new Set<Chunk<ChunkValues>>();
let residentBytes = 0;
let newest: Chunk<ChunkValues> | undefined;

/** True where scratch files could not be written, so that the memory of this thread holds much more than it should. */
export function isShortOfScratch(): boolean {
  return residentBytes > 2 * CHUNK_MEMORY_BYTES;
}

/**
 * Numbered chunks of numbers whose memory does not grow with their count: beyond {@link CHUNK_MEMORY_BYTES} (all owners of a
 * thread together) they wait in a scratch file without a name, which the system frees even after SIGKILL. Memory is
 * exceeded rather than failed in when that file cannot be written. Dispose of it when done.
 *
 * An array that was handed out is good until the next call on any owner: then it may have been put away.
 */
export class ScratchChunks<T extends ChunkValues> {
  readonly #folder: string;
  readonly #make: () => T;
  /** By index; undefined: in the scratch file. */
  readonly #chunks = new Map<number, Chunk<T> | undefined>();
  /** The array of a chunk that was put away, for the next one. */
  #spare: T | undefined;
  #fd: number | undefined;
  #lost: RivuletError | undefined;

  /** `folder`: where a scratch file may be made; need not exist before. `make`: a new chunk, always of one length. */
  constructor(folder: string, make: () => T) {
    this.#folder = folder;
    this.#make = make;
  }

  /** Chunks that exist, ascending. */
  get indexes(): number[] {
    return [...this.#chunks.keys()].sort((a, b) => a - b);
  }

  /** Chunks that lie in the scratch file only. */
  get spilled(): number {
    let count = 0;
    for (const chunk of this.#chunks.values()) if (!chunk) count++;
    return count;
  }

  /** A chunk to read; undefined when it was never written to. */
  read(index: number): T | undefined {
    return this.#chunk(index)?.values;
  }

  /** A chunk to write to; it exists from now on. */
  write(index: number): T {
    const chunk = this.#chunk(index) ?? this.#add(index, this.#zeroed());
    chunk.dirty = true;
    return chunk.values;
  }

  /** Forgets the chunks from `index` on. */
  drop(index: number): void {
    for (const [at, chunk] of this.#chunks) {
      if (at < index) continue;
      if (chunk) forget(chunk);
      this.#chunks.delete(at);
    }
  }

  /** Forgets everything, and gives the scratch file back. */
  clear(): void {
    for (const chunk of this.#chunks.values()) if (chunk) forget(chunk);
    this.#chunks.clear();
    this.#spare = undefined;
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
    this.#lost = undefined;
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #chunk(index: number): Chunk<T> | undefined {
    if (this.#lost) throw this.#lost;
    const chunk = this.#chunks.get(index);
    if (chunk) {
      if (chunk !== newest) touch(chunk);
      return chunk;
    }
    return this.#chunks.has(index) ? this.#load(index) : undefined;
  }

  #add(index: number, values: T): Chunk<T> {
    const chunk: Chunk<T> = { owner: this, index, values, dirty: false };
    this.#chunks.set(index, chunk);
    residentBytes += values.byteLength;
    touch(chunk);
    makeRoom();
    return chunk;
  }

  #load(index: number): Chunk<T> {
    const values = this.#zeroed();
    const bytes = bytesOf(values);
    try {
      const got = this.#fd === undefined ? 0 : readFully(this.#fd, bytes, index * bytes.length);
      if (got < bytes.length) throw new Error(`${got} of ${bytes.length} bytes`);
    } catch (error) {
      // Half of a table is worse than none: from here on it answers nothing any more.
      this.#lost = new RivuletError({
        code: 'SCRATCH_UNREADABLE',
        message: `a scratch file in ${this.#folder} cannot be read back: ${messageOf(error)}`,
        kept: 'the database and the replica are as they were',
        next: 'check that disk, then start Rivulet again',
        cause: error,
      });
      throw this.#lost;
    }
    return this.#add(index, values);
  }

  #zeroed(): T {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare) bytesOf(spare).fill(0);
    return spare ?? this.#make();
  }

  /** Moves a chunk to the scratch file; false when that could not be written. */
  spill(chunk: Chunk<T>): boolean {
    try {
      if (chunk.dirty) {
        this.#fd ??= openScratch(this.#folder);
        const bytes = bytesOf(chunk.values);
        writeFully(this.#fd, bytes, chunk.index * bytes.length);
      }
    } catch {
      return false; // no room, most likely: then it stays in memory
    }
    this.#chunks.set(chunk.index, undefined);
    this.#spare = chunk.values;
    return true;
  }
}

function touch(chunk: Chunk<ChunkValues>): void {
  resident.delete(chunk);
  resident.add(chunk);
  newest = chunk;
}

function forget(chunk: Chunk<ChunkValues>): void {
  if (resident.delete(chunk)) residentBytes -= chunk.values.byteLength;
  if (newest === chunk) newest = undefined;
}

function makeRoom(): void {
  for (const chunk of resident) {
    if (residentBytes <= CHUNK_MEMORY_BYTES || chunk === newest) return;
    if (!chunk.owner.spill(chunk)) return;
    forget(chunk);
  }
}

function openScratch(folder: string): number {
  makeFolders(folder, 0o700);
  const path = stagingPath(`${folder}/scratch`);
  const fd = fs.openSync(path, 'wx+', 0o600);
  fs.rmSync(path);
  return fd;
}

function bytesOf(values: ChunkValues): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
