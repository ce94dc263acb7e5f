import { type ErrorParts, RivuletError } from '../base/errors.ts';

/** One stored object. `modifiedMs`: when the store says it was last written, ms since 1970 (file store: the mtime). */
export interface ObjectInfo {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

/** A request that went over the wire. One call can be several: pages of a listing, parts of an object. */
export interface WireRequest {
  /** HTTP method, or the store's own word for it. */
  readonly method: string;
  readonly sentBytes: number;
}

/** What every call can be given. The last two are for wrappers. */
export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told of each request on the wire as it is sent. A store without a wire (a folder) tells of none. */
  readonly onRequest?: ((request: WireRequest) => void) | undefined;
  /** Awaited before each piece of a body is sent, with its length: holds a sender back. */
  readonly pace?: ((bytes: number) => Promise<void>) | undefined;
}

export interface ListOptions extends RequestOptions {
  /** Only keys that sort after this one. */
  readonly startAfter?: string | undefined;
}

export interface OpenOptions extends RequestOptions {
  /** First byte to read; default 0. */
  readonly offset?: number | undefined;
  /** How many bytes to read; default: to the end. A range that goes past the end is cut there. */
  readonly length?: number | undefined;
  /** Only this version of the object, as an earlier reader named it: where another one is there now, the call fails. */
  readonly version?: string | undefined;
}

/** Bytes of one object, pulled into the caller's memory. Close it on every path. */
export interface ObjectReader {
  /** Names the version of the object that is read, where the store has such names (an ETag). */
  readonly version?: string | undefined;
  /** Fills some or all of `target` (never empty); returns the bytes read, 0 only at the end of the range. */
  read(target: Uint8Array): Promise<number>;
  close(): Promise<void>;
}

/**
 * What is to be stored: bytes in memory, or a whole file, which the store may link, copy or upload in parts. A file is
 * durable already and never changes again; its mtime may become `timestampMs`.
 */
export type PutBody = { readonly bytes: Uint8Array } | { readonly file: string; readonly sizeBytes: number };

export interface PutOptions extends RequestOptions {
  /**
   * Create only: an existing object is left as it is and the call fails with kind `exists`. Where the store itself cannot
   * decide that, it is looked up first, and two creators in the same instant are not told apart.
   */
  readonly ifAbsent?: boolean | undefined;
  /** The time that the data is of, ms since 1970; file stores give it to the file as its mtime. */
  readonly timestampMs?: number | undefined;
}

/** What became of one key of a delete. Deleting what is not there is a success. */
export interface DeleteResult {
  readonly key: string;
  readonly error: StoreError | undefined;
}

/**
 * The reading half of an object store. Code that must not write is handed this type: there is no `put` on it to call.
 * Keys are relative to the store's root, use `/`, never start with it, and sort by their UTF-8 bytes.
 */
export interface ReadableStore {
  /** The store and its root as a URL, without secrets: for messages and for binding local state to it. */
  readonly url: string;
  /** Objects whose key starts with `prefix`, in ascending key order. An absent folder or prefix is an empty listing. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo>;
  /** Opens an object or a range of it. Fails with kind `not-found`. */
  open(key: string, options?: OpenOptions): Promise<ObjectReader>;
  /** Releases connections. The store is not used afterwards. */
  close(): Promise<void>;
}

/**
 * An object store. A `put` that returned is durable and whole; one that failed left the old object, none, or (when only
 * the answer was lost) all of the new one: never a part. A request that was aborted rejects with its signal's reason.
 */
export interface Store extends ReadableStore {
  /** Whether the store itself decides creates (`ifAbsent`), so that of several creators exactly one wins. */
  conditionalWrites(options?: RequestOptions): Promise<boolean>;
  put(key: string, body: PutBody, options?: PutOptions): Promise<ObjectInfo>;
  /** Deletes keys; every key's own answer is in the result, in the order given. Throws only what is about no key. */
  delete(keys: readonly string[], options?: RequestOptions): Promise<DeleteResult[]>;
}

/**
 * - `not-found`, `exists` (a conditional create lost), `denied`, `full` (no space, quota): as named.
 * - `transient`: worth retrying. `permanent`: not worth it.
 */
export type StoreErrorKind = 'not-found' | 'exists' | 'denied' | 'full' | 'transient' | 'permanent';

export interface StoreErrorDetails {
  readonly retryAfterMs?: number | undefined;
  readonly permission?: string | undefined;
}

/** A failed request to a store. Stores decide only the kind; whether and how to retry is up to wrappers. */
export class StoreError extends RivuletError {
  override readonly name: string = 'StoreError';
  readonly kind: StoreErrorKind;
  /** How long the store asks to be left alone, ms; undefined: it did not ask. */
  readonly retryAfterMs: number | undefined;
  /** What is not permitted, in the words of the store's policies: `s3:PutObject`; undefined: that is not why. */
  readonly permission: string | undefined;

  constructor(kind: StoreErrorKind, parts: Omit<ErrorParts, 'code'>, details: StoreErrorDetails = {}) {
    super({ code: `STORE_${kind.replace('-', '_').toUpperCase()}`, ...parts });
    this.kind = kind;
    this.retryAfterMs = details.retryAfterMs;
    this.permission = details.permission;
  }
}

/** True for a {@link StoreError} of one of these kinds. */
export function isStoreError(error: unknown, ...kinds: readonly StoreErrorKind[]): error is StoreError {
  return error instanceof StoreError && kinds.includes(error.kind);
}

/** An object as messages name it. What some stores' URLs say behind a question mark stays at their end. */
export function objectUrl(storeUrl: string, key: string): string {
  const [place = '', ...query] = storeUrl.split('?');
  return [`${place}/${key}`, ...query].join('?');
}

/** Reads a small object whole. `limitBytes` guards memory: a larger object is an error. */
export async function readObject(
  store: ReadableStore,
  key: string,
  limitBytes: number,
  options: RequestOptions = {},
): Promise<Uint8Array> {
  const target = new Uint8Array(limitBytes + 1);
  const length = await readInto(store, key, target, options);
  if (length > limitBytes) {
    throw new StoreError('permanent', {
      message: `${objectUrl(store.url, key)} is larger than the ${limitBytes} bytes expected`,
    });
  }
  return target.subarray(0, length);
}

/** Reads a range of an object into `target` until it is full or the range ends; returns the bytes read. */
export async function readInto(
  store: ReadableStore,
  key: string,
  target: Uint8Array,
  options: OpenOptions = {},
): Promise<number> {
  const reader = await store.open(key, options);
  try {
    let done = 0;
    while (done < target.length) {
      const got = await reader.read(target.subarray(done));
      if (got === 0) break;
      done += got;
    }
    return done;
  } finally {
    await reader.close();
  }
}
