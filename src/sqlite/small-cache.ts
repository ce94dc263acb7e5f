/**
 * SQL for a new connection that needs no page cache: memory for 20 pages is taken when the first page is read, which the first of these
 * statements does already, as it reads the schema.
 */
export const SMALL_CACHE = 'PRAGMA cache_size=1; PRAGMA shrink_memory';
