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
import { type Clock, TokenBucket } from './token-bucket.ts';

export interface RateLimits {
  /** Bytes of bodies sent a second; Infinity: no limit. */
  readonly uploadBytesPerSecond: number;
  /** Bytes of objects received a second; Infinity: no limit. */
  readonly downloadBytesPerSecond: number;
}

/** Larger reads are cut to this, so that a slow rate does not make one of them wait for long. */
const READ_PIECE_BYTES = 64 * 1024;

/** A store through which no more than so many bytes a second go, all its calls together. */
export class RateLimitedStore implements Store {
  readonly url: string;
  readonly #inner: Store;
  readonly #upload: TokenBucket;
  readonly #download: TokenBucket;
  readonly #isDownloadFree: boolean;

  constructor(inner: Store, limits: RateLimits, clock?: Clock) {
    this.url = inner.url;
    this.#inner = inner;
    this.#upload = new TokenBucket(limits.uploadBytesPerSecond, clock);
    this.#download = new TokenBucket(limits.downloadBytesPerSecond, clock);
    this.#isDownloadFree = limits.downloadBytesPerSecond === Number.POSITIVE_INFINITY;
  }

  conditionalWrites(options?: RequestOptions): Promise<boolean> {
    return this.#inner.conditionalWrites(options);
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo> {
    return this.#inner.list(prefix, options);
  }

  async open(key: string, options: OpenOptions = {}): Promise<ObjectReader> {
    const reader = await this.#inner.open(key, options);
    if (this.#isDownloadFree) return reader;
    return {
      version: reader.version,
      read: async (target) => {
        const got = await reader.read(target.subarray(0, READ_PIECE_BYTES));
        await this.#download.take(got, options.signal);
        return got;
      },
      close: () => reader.close(),
    };
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> {
    let paced = false;
    const pace = async (bytes: number): Promise<void> => {
      paced = true;
      await options.pace?.(bytes);
      await this.#upload.take(bytes, options.signal);
    };
    const info = await this.#inner.put(key, body, { ...options, pace });
    // A store that does not send in pieces pays afterwards: the next one waits for it.
    if (!paced) await this.#upload.take(info.sizeBytes, options.signal);
    return info;
  }

  delete(keys: readonly string[], options?: RequestOptions): Promise<DeleteResult[]> {
    return this.#inner.delete(keys, options);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
