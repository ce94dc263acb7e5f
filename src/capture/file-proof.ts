import { fileNameOfOpen, stampOfOpen, versionOfOpen } from '../base/database-files.ts';
import { readFully } from '../base/durable-file.ts';
import { PageBatch } from '../ltx/page-batch.ts';
import { DATABASE_HEADER_SIZE, readDatabaseHeader } from '../sqlite/database-header.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';
import type { PageTable } from './page-table.ts';

/** Pages of the database file that are looked at. */
const SAMPLED_PAGES = 256;

/** What the replica has of each page. */
export interface KnownPages {
  readonly pageCount: number;
  hashOf(pgno: number): bigint;
}

/**
 * Looks whether a database file is the one that was captured. Another one can have been put or copied in its place, which
 * leaves the WAL as it was: salts and checksum chain do not show it.
 */
export class FileProof {
  readonly #databaseFd: number;
  readonly #pageSize: number;
  /** When the file was last written, and how long it is, as of the last look that found it right. */
  #stamp = '';

  constructor(databaseFd: number, pageSize: number) {
    this.#databaseFd = databaseFd;
    this.#pageSize = pageSize;
  }

  /** The file, as a saved position names it. */
  get fileName(): string {
    return fileNameOfOpen(this.#databaseFd);
  }

  /** What is in it, by name; see {@link versionOfOpen}. */
  get version(): string | undefined {
    return versionOfOpen(this.#databaseFd);
  }

  /** Bytes a page, as the file itself says; undefined where it is no database. */
  get pageSize(): number | undefined {
    const bytes = new Uint8Array(DATABASE_HEADER_SIZE);
    const reading = readDatabaseHeader(bytes.subarray(0, readFully(this.#databaseFd, bytes, 0)));
    return reading.kind === 'database' ? reading.header.pageSize : undefined;
  }

  /** As {@link holds}, for a file that must hold every page; it is read only if it looks changed since the last time. */
  stillHolds(known: KnownPages): boolean {
    const stamp = stampOfOpen(this.#databaseFd);
    if (stamp === this.#stamp) return true;
    if (!this.holds(known)) return false;
    this.#stamp = stamp;
    return true;
  }

  /** True when sampled pages are in the file as they are known; pages that `frames` has are not looked at. */
  holds(known: KnownPages, frames?: PageTable): boolean {
    const lock = lockPageNumber(this.#pageSize);
    const step = Math.max(1, Math.floor(known.pageCount / SAMPLED_PAGES));
    for (let pgno = 1; pgno <= known.pageCount; pgno += step) {
      if (pgno === lock || frames?.get(pgno) !== undefined) continue;
      if (this.#hashOf(pgno) !== known.hashOf(pgno)) return false;
    }
    return true;
  }

  #hashOf(pgno: number): bigint {
    using page = new PageBatch(this.#pageSize, 1);
    page.bytes.fill(0, readFully(this.#databaseFd, page.bytes, (pgno - 1) * this.#pageSize));
    page.pgnos[0] = pgno;
    return page.hash(1);
  }
}
