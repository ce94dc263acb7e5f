import {
  type DeleteResult,
  type ListOptions,
  type ObjectInfo,
  type ObjectReader,
  type OpenOptions,
  type PutBody,
  type PutOptions,
  type RequestOptions,
  type Store,
  StoreError,
  type StoreErrorKind,
  type WireRequest,
} from '../store.ts';

export type MeteredVerb = 'list' | 'open' | 'put' | 'delete';

/** What was asked of a store by one verb. */
export interface VerbUsage {
  readonly calls: number;
  /** Calls (for a delete: keys) that failed, by the kind of their failure. */
  readonly failures: Readonly<Partial<Record<StoreErrorKind, number>>>;
  /** Requests on the wire, by method: what a provider bills. None for a store without a wire. */
  readonly requests: Readonly<Record<string, number>>;
  /** Bytes of bodies that were sent, again for each attempt. */
  readonly sentBytes: number;
  /** Bytes of objects that were received. */
  readonly receivedBytes: number;
}

export type StoreUsage = Readonly<Record<MeteredVerb, VerbUsage>>;

interface Meter {
  calls: number;
  failures: Partial<Record<StoreErrorKind, number>>;
  requests: Record<string, number>;
  sentBytes: number;
  receivedBytes: number;
}

const newMeter = (): Meter => ({ calls: 0, failures: {}, requests: {}, sentBytes: 0, receivedBytes: 0 });

/** A store that counts what is asked of it. */
export class MeteredStore implements Store {
  readonly url: string;
  readonly #inner: Store;
  readonly #meters = { list: newMeter(), open: newMeter(), put: newMeter(), delete: newMeter() };

  constructor(inner: Store) {
    this.url = inner.url;
    this.#inner = inner;
  }

  /** All that was asked up to now. */
  get usage(): StoreUsage {
    return structuredClone(this.#meters);
  }

  conditionalWrites(options: RequestOptions = {}): Promise<boolean> {
    return this.#inner.conditionalWrites(this.#watched(this.#meters.put, options));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const meter = this.#meters.list;
    meter.calls++;
    try {
      yield* this.#inner.list(prefix, this.#watched(meter, options));
    } catch (error) {
      countFailure(meter, error);
      throw error;
    }
  }

  async open(key: string, options: OpenOptions = {}): Promise<ObjectReader> {
    const meter = this.#meters.open;
    const reader = await this.#counted(meter, () => this.#inner.open(key, this.#watched(meter, options)));
    return {
      version: reader.version,
      read: async (target) => {
        try {
          const got = await reader.read(target);
          meter.receivedBytes += got;
          return got;
        } catch (error) {
          countFailure(meter, error);
          throw error;
        }
      },
      close: () => reader.close(),
    };
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> {
    const meter = this.#meters.put;
    let told = false;
    const watched = this.#watched(meter, options, () => {
      told = true;
    });
    const info = await this.#counted(meter, () => this.#inner.put(key, body, watched));
    // A store without a wire does not tell of what it sends.
    if (!told) meter.sentBytes += info.sizeBytes;
    return info;
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<DeleteResult[]> {
    const meter = this.#meters.delete;
    const results = await this.#counted(meter, () => this.#inner.delete(keys, this.#watched(meter, options)));
    for (const { error } of results) if (error) countFailure(meter, error);
    return results;
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #watched<T extends RequestOptions>(meter: Meter, options: T, also?: () => void): T {
    const onRequest = (request: WireRequest): void => {
      meter.requests[request.method] = (meter.requests[request.method] ?? 0) + 1;
      meter.sentBytes += request.sentBytes;
      also?.();
      options.onRequest?.(request);
    };
    return { ...options, onRequest };
  }

  async #counted<T>(meter: Meter, work: () => Promise<T>): Promise<T> {
    meter.calls++;
    try {
      return await work();
    } catch (error) {
      countFailure(meter, error);
      throw error;
    }
  }
}

function countFailure(meter: Meter, error: unknown): void {
  if (error instanceof StoreError) meter.failures[error.kind] = (meter.failures[error.kind] ?? 0) + 1;
}
