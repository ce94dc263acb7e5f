/**
 * SQL for a new connection that looks at no more than page 1: memory for 20 pages is taken when the first one is read, which the first
 * of these does already.
 */
export const SMALL_CACHE = 'PRAGMA cache_size=1; PRAGMA shrink_memory';
