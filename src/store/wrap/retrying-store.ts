import {
  type DeleteResult,
  isStoreError,
  type ListOptions,
  type ObjectInfo,
  type ObjectReader,
  type OpenOptions,
  objectUrl,
  type PutBody,
  type PutOptions,
  type RequestOptions,
  type Store,
} from '../store.ts';
import { Attempts, DEFAULT_RETRY_POLICY, type RetryPolicy, withRetries } from './retry-policy.ts';

/**
 * A store whose transient failures are tried again, each request up to a limit. A listing goes on after the last key that it
 * gave, a reader at the byte it had reached (where the store names versions: of the same one), a delete with the keys that failed. A create whose
 * answer was lost finds its own object and fails with kind `exists`: whoever creates must look whose it is.
 */
export class RetryingStore implements Store {
  readonly url: string;
  readonly #inner: Store;
  readonly #policy: RetryPolicy;

  constructor(inner: Store, policy: Partial<RetryPolicy> = {}) {
    this.url = inner.url;
    this.#inner = inner;
    this.#policy = { ...DEFAULT_RETRY_POLICY, ...policy };
  }

  conditionalWrites(options: RequestOptions = {}): Promise<boolean> {
    const what = `trying conditional writes in ${this.url}`;
    return withRetries(this.#policy, what, options.signal, () => this.#inner.conditionalWrites(options));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const attempts = new Attempts(this.#policy, `listing ${objectUrl(this.url, prefix)}`, options.signal);
    let { startAfter } = options;
    for (;;) {
      try {
        for await (const info of this.#inner.list(prefix, { ...options, startAfter })) {
          attempts.reset();
          startAfter = info.key;
          yield info;
        }
        return;
      } catch (error) {
        await attempts.after(error);
      }
    }
  }

  async open(key: string, options: OpenOptions = {}): Promise<ObjectReader> {
    const what = `reading ${objectUrl(this.url, key)}`;
    const reader = await withRetries(this.#policy, what, options.signal, () => this.#inner.open(key, options));
    const version = reader.version ?? options.version;
    return new RetryingReader(reader, version, new Attempts(this.#policy, what, options.signal), (offset, version) =>
      this.#inner.open(key, {
        ...options,
        offset: (options.offset ?? 0) + offset,
        length: options.length === undefined ? undefined : options.length - offset,
        version,
      }),
    );
  }

  put(key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> {
    const what = `storing ${objectUrl(this.url, key)}`;
    return withRetries(this.#policy, what, options.signal, () => this.#inner.put(key, body, options));
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<DeleteResult[]> {
    const attempts = new Attempts(this.#policy, `deleting from ${this.url}`, options.signal);
    const results = new Map<string, DeleteResult>();
    for (let asked = keys; ; ) {
      try {
        for (const result of await this.#inner.delete(asked, options)) results.set(result.key, result);
      } catch (error) {
        await attempts.after(error);
        continue;
      }
      const failed = asked.filter((key) => isStoreError(results.get(key)?.error, 'transient'));
      const error = results.get(failed[0] ?? '')?.error;
      const again = error !== undefined && (await willRetry(attempts, error));
      if (!again) return keys.map((key) => results.get(key) ?? { key, error: undefined });
      asked = failed;
    }
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/** As {@link Attempts.after}, where the failure is not to be thrown. */
async function willRetry(attempts: Attempts, error: unknown): Promise<boolean> {
  try {
    await attempts.after(error);
    return true;
  } catch (thrown) {
    if (thrown === error) return false;
    throw thrown;
  }
}

class RetryingReader implements ObjectReader {
  readonly version: string | undefined;
  readonly #attempts: Attempts;
  readonly #reopen: (offset: number, version: string | undefined) => Promise<ObjectReader>;
  #reader: ObjectReader | undefined;
  #offset = 0;

  constructor(
    reader: ObjectReader,
    version: string | undefined,
    attempts: Attempts,
    reopen: (offset: number, version: string | undefined) => Promise<ObjectReader>,
  ) {
    this.version = version;
    this.#reader = reader;
    this.#attempts = attempts;
    this.#reopen = reopen;
  }

  async read(target: Uint8Array): Promise<number> {
    for (;;) {
      try {
        this.#reader ??= await this.#reopen(this.#offset, this.version);
        const got = await this.#reader.read(target);
        this.#offset += got;
        if (got > 0) this.#attempts.reset();
        return got;
      } catch (error) {
        await this.close().catch(() => undefined); // the failure that led here is the one to report
        // Whether what is there now is still the same object, nobody could tell.
        if (this.version === undefined && this.#offset > 0) throw error;
        await this.#attempts.after(error);
      }
    }
  }

  async close(): Promise<void> {
    const reader = this.#reader;
    this.#reader = undefined;
    await reader?.close();
  }
}
