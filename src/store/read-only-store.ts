import type { ReadableStore } from './store.ts';

/**
 * The reading half of `store` and nothing else: at run time too there is no `put` or `delete` on it, and no way from it
 * to the store behind. Closing it closes that store.
 */
export function readOnly(store: ReadableStore): ReadableStore {
  return Object.freeze<ReadableStore>({
    url: store.url,
    list: (prefix, options) => store.list(prefix, options),
    open: (key, options) => store.open(key, options),
    close: () => store.close(),
  });
}
