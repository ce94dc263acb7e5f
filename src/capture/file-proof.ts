import { fileNameOfOpen, versionOfOpen } from '../base/database-files.ts';
import { readFully } from '../base/durable-file.ts';
import { PageBatch } from '../ltx/page-batch.ts';
import { DATABASE_HEADER_SIZE, readDatabaseHeader } from '../sqlite/database-header.ts';
import { lockPageNumber } from '../sqlite/lock-page.ts';
import type { PageTable } from './page-table.ts';

/** Pages of the database file that are looked at. */
const SAMPLED_PAGES = 256;

/** Bytes that are compared before other work of the thread gets its turn. */
const TURN_BYTES = 8 * 1024 * 1024;

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
  /** All pages up to this one were found right by {@link compare}. */
  #rightTo = 0;

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

  /** What was compared counts no more. */
  restart(): void {
    this.#rightTo = 0;
  }

  /**
   * Compares the pages that follow those that were, up to `bytes` of them, with what is known; pages that `changed` are known otherwise.
   * In steps, between which other work gets its turn. SQLite must not be able to write to the file.
   */
  *compare(
    known: KnownPages,
    changed: { has(pgno: number): boolean },
    bytes: number,
  ): Generator<undefined, 'right' | 'wrong' | 'unfinished'> {
    using batch = new PageBatch(this.#pageSize);
    const lock = lockPageNumber(this.#pageSize);
    let sinceTurn = 0;
    for (let left = bytes; this.#rightTo < known.pageCount; left -= batch.bytes.length) {
      if (left <= 0) return 'unfinished';
      const count = Math.min(batch.capacity, known.pageCount - this.#rightTo);
      const got = readFully(this.#databaseFd, batch.slice(0, count), this.#rightTo * this.#pageSize);
      batch.bytes.fill(0, got);
      for (let i = 0; i < count; i++) batch.pgnos[i] = this.#rightTo + i + 1;
      batch.hash(count);
      for (let i = 0; i < count; i++) {
        const pgno = batch.pgnos[i] ?? 0;
        if (pgno !== lock && batch.hashes[i] !== known.hashOf(pgno) && !changed.has(pgno)) return 'wrong';
      }
      this.#rightTo += count;
      sinceTurn += batch.bytes.length;
      if (sinceTurn < TURN_BYTES) continue;
      sinceTurn = 0;
      yield;
    }
    this.#rightTo = 0;
    return 'right';
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
