import { LtxError } from '../ltx/ltx-error.ts';
import type { ObjectReader, ReadableStore } from '../store/store.ts';

/** A range that ended before its end is asked for again, from the byte reached, this often. */
const MAX_EARLY_ENDS = 5;

/** What every read of a restore shares. */
export interface ReadContext {
  readonly store: ReadableStore;
  readonly signal: AbortSignal;
  /** Is told of every byte that arrives. */
  onBytes(count: number): void;
}

/** Reads one range of an object in order. After an end that came early goes on at the byte reached. */
export class RangeReader {
  readonly #context: ReadContext;
  readonly #key: string;
  readonly #end: number;
  #offset: number;
  #earlyEnds = 0;
  #reader: ObjectReader | undefined;

  constructor(context: ReadContext, key: string, offset: number, length: number) {
    this.#context = context;
    this.#key = key;
    this.#offset = offset;
    this.#end = offset + length;
  }

  /** Fills `target` with the next bytes of the range. */
  async fill(target: Uint8Array): Promise<void> {
    let done = 0;
    while (done < target.length) {
      try {
        done += await this.#readSome(target.subarray(done));
      } catch (error) {
        await this.close().catch(() => undefined); // the failure that led here is the one to report
        if (!(error instanceof LtxError) || ++this.#earlyEnds > MAX_EARLY_ENDS) throw error;
      }
    }
  }

  async close(): Promise<void> {
    const reader = this.#reader;
    this.#reader = undefined;
    await reader?.close();
  }

  async #readSome(target: Uint8Array): Promise<number> {
    const { store, signal, onBytes } = this.#context;
    signal.throwIfAborted();
    const length = this.#end - this.#offset;
    this.#reader ??= await store.open(this.#key, { offset: this.#offset, length, signal });
    const got = await this.#reader.read(target);
    if (got === 0) throw new LtxError('truncated', `its bytes end at ${this.#offset}, before ${this.#end}`);
    this.#offset += got;
    onBytes(got);
    return got;
  }
}

/** Fills `target` with the bytes of an object from `offset` on. */
export async function readRange(context: ReadContext, key: string, offset: number, target: Uint8Array): Promise<void> {
  const reader = new RangeReader(context, key, offset, target.length);
  try {
    await reader.fill(target);
  } finally {
    await reader.close();
  }
}
