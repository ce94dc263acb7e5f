import type { ListOptions, ObjectInfo, ObjectReader, OpenOptions, ReadableStore } from '../store/store.ts';

/** A store that tells of each object when it is opened for the first time. */
export class AnnouncedStore implements ReadableStore {
  readonly url: string;
  readonly #inner: ReadableStore;
  readonly #announce: (key: string) => void;
  readonly #announced = new Set<string>();

  constructor(inner: ReadableStore, announce: (key: string) => void) {
    this.url = inner.url;
    this.#inner = inner;
    this.#announce = announce;
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo> {
    return this.#inner.list(prefix, options);
  }

  open(key: string, options?: OpenOptions): Promise<ObjectReader> {
    if (!this.#announced.has(key)) this.#announce(key);
    this.#announced.add(key);
    return this.#inner.open(key, options);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
