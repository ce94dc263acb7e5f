import type {
  DeleteResult,
  ListOptions,
  ObjectInfo,
  ObjectReader,
  OpenOptions,
  PutBody,
  PutOptions,
  RequestOptions,
  Store,
} from '../store.ts';
import { Semaphore } from './semaphore.ts';

/**
 * A store that is asked for no more than so many things at a time; what is more waits its turn. A reader counts until it is
 * closed, a listing only while its next objects are fetched.
 */
export class LimitedStore implements Store {
  readonly url: string;
  readonly #inner: Store;
  readonly #permits: Semaphore;

  constructor(inner: Store, maxCalls: number) {
    if (!(maxCalls >= 1)) throw new RangeError(`a store needs at least one call at a time: ${maxCalls}`);
    this.url = inner.url;
    this.#inner = inner;
    this.#permits = new Semaphore(maxCalls);
  }

  conditionalWrites(options: RequestOptions = {}): Promise<boolean> {
    return this.#limited(options, () => this.#inner.conditionalWrites(options));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const objects = this.#inner.list(prefix, options)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const { value, done } = await this.#limited(options, () => objects.next());
        if (done) return;
        yield value;
      }
    } finally {
      await objects.return?.();
    }
  }

  async open(key: string, options: OpenOptions = {}): Promise<ObjectReader> {
    const release = await this.#permits.acquire(options.signal);
    try {
      const reader = await this.#inner.open(key, options);
      return {
        version: reader.version,
        read: (target) => reader.read(target),
        close: () => reader.close().finally(release),
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  put(key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> {
    return this.#limited(options, () => this.#inner.put(key, body, options));
  }

  delete(keys: readonly string[], options: RequestOptions = {}): Promise<DeleteResult[]> {
    return this.#limited(options, () => this.#inner.delete(keys, options));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #limited<T>(options: RequestOptions, work: () => Promise<T>): Promise<T> {
    const release = await this.#permits.acquire(options.signal);
    try {
      return await work();
    } finally {
      release();
    }
  }
}
