import type { FileHandle } from 'node:fs/promises';
import type { ObjectReader, OpenOptions } from '../store.ts';
import { type FailedAction, fileError } from './file-errors.ts';

/** Reads a range of an open file straight into the caller's memory. */
export class FileReader implements ObjectReader {
  readonly version: string;
  readonly #handle: FileHandle;
  readonly #failed: FailedAction;
  readonly #signal: AbortSignal | undefined;
  #position: number;
  #remaining: number;

  /** Takes over `handle`: it is closed with the reader. */
  constructor(handle: FileHandle, version: string, options: OpenOptions, failed: FailedAction) {
    this.version = version;
    this.#handle = handle;
    this.#failed = failed;
    this.#signal = options.signal;
    this.#position = options.offset ?? 0;
    this.#remaining = options.length ?? Number.MAX_SAFE_INTEGER;
  }

  async read(target: Uint8Array): Promise<number> {
    // A read that is under way is not abandoned: the system may still write into the caller's memory.
    this.#signal?.throwIfAborted();
    const length = Math.min(target.length, this.#remaining);
    if (length === 0) return 0;
    const { bytesRead } = await this.#handle.read(target, 0, length, this.#position).catch((error: unknown) => {
      throw fileError(error, this.#failed);
    });
    this.#position += bytesRead;
    this.#remaining -= bytesRead;
    return bytesRead;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
