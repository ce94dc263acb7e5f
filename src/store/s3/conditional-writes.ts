import { unlessAborted } from '../../base/async.ts';
import { isStoreError, type RequestOptions } from '../store.ts';
import type { TextAnswer } from './s3-connection.ts';

/** Writes the probe object; answers of 412 (304 by older MinIO servers) and 501 are no errors. */
type Write = (key: string, headers: Readonly<Record<string, string>>, options: RequestOptions) => Promise<TextAnswer>;

/**
 * Whether a store decides `If-None-Match: *`. Some stores refuse it, some ignore it and overwrite: only a second write of the
 * same key tells.
 */
export class ConditionalWrites {
  readonly #write: Write;
  #known: Promise<boolean> | undefined;

  constructor(write: Write) {
    this.#write = write;
  }

  /** Tries it out with an object of this name, once; `cleanUp` removes that. A failure is not remembered. */
  async work(key: string, options: RequestOptions, cleanUp: () => Promise<void>): Promise<boolean> {
    for (;;) {
      const isOwn = this.#known === undefined;
      this.#known ??= this.#probe(key, options, cleanUp).catch((error: unknown) => {
        this.#known = undefined;
        throw error;
      });
      try {
        return await unlessAborted(this.#known, isOwn ? undefined : options.signal);
      } catch (error) {
        // What ended somebody else's try (they may have aborted it) says nothing about one's own.
        if (isOwn || options.signal?.aborted) throw error;
      }
    }
  }

  async #probe(key: string, options: RequestOptions, cleanUp: () => Promise<void>): Promise<boolean> {
    const create = { 'If-None-Match': '*' };
    let mayExist = true;
    try {
      const first = await this.#write(key, create, options);
      if (first.status >= 300) {
        mayExist = false;
        return first.status !== 501;
      }
      const second = await this.#write(key, create, options);
      return second.status >= 300 && second.status !== 501;
    } catch (error) {
      if (isStoreError(error, 'denied')) mayExist = false;
      throw error;
    } finally {
      if (mayExist) await cleanUp();
    }
  }
}
