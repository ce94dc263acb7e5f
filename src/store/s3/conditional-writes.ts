import type { RequestOptions } from '../store.ts';
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
    this.#known ??= this.#probe(key, options, cleanUp);
    const known = this.#known;
    try {
      return await known;
    } catch (error) {
      if (this.#known === known) this.#known = undefined;
      throw error;
    }
  }

  async #probe(key: string, options: RequestOptions, cleanUp: () => Promise<void>): Promise<boolean> {
    const create = { 'If-None-Match': '*' };
    const first = await this.#write(key, create, options);
    if (first.status === 501) return false;
    try {
      if (first.status !== 200) return true;
      const second = await this.#write(key, create, options);
      return second.status !== 200;
    } finally {
      await cleanUp();
    }
  }
}
