import { isPageSize } from './lock-page.ts';

/*
 * The first 100 bytes of a database file (the fields used here):
 *
 * | offset | bytes | meaning                                                     |
 * | ------ | ----- | ----------------------------------------------------------- |
 * | 0      | 16    | "SQLite format 3\0"                                         |
 * | 16     | 2     | page size, big-endian; 1 means 65536                        |
 * | 18, 19 | 1 + 1 | write and read version: 1 rollback journal, 2 WAL           |
 * | 24     | 4     | file change counter                                         |
 * | 28     | 4     | size of the database in pages                               |
 */

export const DATABASE_HEADER_SIZE = 100;
const MAGIC = Buffer.from('SQLite format 3\0', 'latin1');

export interface DatabaseHeader {
  /** Bytes a page. */
  readonly pageSize: number;
  readonly walMode: boolean;
  /** The header's own count of pages. */
  readonly pageCount: number;
}

/**
 * - `empty`: a file of no bytes, which SQLite takes for a new database.
 * - `not-a-database`: something else, or an encrypted database (SQLCipher and its like leave no magic).
 */
export type HeaderReading =
  | { readonly kind: 'database'; readonly header: DatabaseHeader }
  | { readonly kind: 'empty' }
  | { readonly kind: 'not-a-database' };

/** Reads a database header from the first bytes of a file. */
export function readDatabaseHeader(bytes: Uint8Array): HeaderReading {
  if (bytes.length === 0) return { kind: 'empty' };
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < DATABASE_HEADER_SIZE || !view.subarray(0, 16).equals(MAGIC)) return { kind: 'not-a-database' };
  const raw = view.readUInt16BE(16);
  const pageSize = raw === 1 ? 65_536 : raw;
  if (!isPageSize(pageSize)) return { kind: 'not-a-database' };
  return {
    kind: 'database',
    header: { pageSize, walMode: view[18] === 2 && view[19] === 2, pageCount: view.readUInt32BE(28) },
  };
}
