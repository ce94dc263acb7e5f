import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { CHECKSUM_FLAG, type Checksum, checksum, txid } from '../../src/base/types.ts';
import { PageBatch } from '../../src/ltx/page-batch.ts';
import type { PageEncoding } from '../../src/ltx/page-encoder.ts';
import { FILE_LAYOUT, type Level } from '../../src/replica/layout.ts';
import { lockPageNumber } from '../../src/sqlite/lock-page.ts';
import {
  type ListOptions,
  type ObjectInfo,
  type ObjectReader,
  type OpenOptions,
  type ReadableStore,
  StoreError,
} from '../../src/store/store.ts';
import { header, makeLtx, type Page } from '../support/ltx.ts';

/** A database's states, one for each TXID from 1, and the LTX files that lead from any of them to any later one. */
export class History {
  readonly pageSize: number;
  /** State `i` is the database after TXID `i + 1`. */
  readonly states: readonly Buffer[];
  readonly #withSums: boolean;
  readonly #encoding: PageEncoding;

  constructor(
    pageSize: number,
    states: readonly Buffer[],
    options: { withSums?: boolean; encoding?: PageEncoding } = {},
  ) {
    this.pageSize = pageSize;
    this.states = states;
    this.#withSums = options.withSums ?? true;
    this.#encoding = options.encoding ?? 'block';
  }

  state(id: number | bigint): Buffer {
    return this.states[Number(id) - 1] ?? Buffer.alloc(0);
  }

  /** The file that holds TXIDs `min` to `max`: every page that changed in them, or all for `min` 1. */
  file(min: number, max: number): Buffer {
    const after = this.state(max);
    const commit = after.length / this.pageSize;
    return makeLtx(
      header({
        pageSize: this.pageSize,
        commit,
        minTxid: txid(min),
        maxTxid: txid(max),
        databaseChecksum: this.#withSums ? databaseChecksum(after, this.pageSize) : checksum(0n),
      }),
      this.#changedPages(min, max),
      { encoding: this.#encoding },
    );
  }

  #changedPages(min: number, max: number): Page[] {
    const after = this.state(max);
    const pages: Page[] = [];
    for (let pgno = 1; pgno <= after.length / this.pageSize; pgno++) {
      if (pgno === lockPageNumber(this.pageSize)) continue;
      const bytes = this.#page(max, pgno);
      let changed = min === 1;
      for (let id = min; id <= max && !changed; id++) changed = !this.#page(id, pgno).equals(this.#page(id - 1, pgno));
      if (changed) pages.push({ pgno, bytes });
    }
    return pages;
  }

  #page(id: number, pgno: number): Buffer {
    return this.state(id).subarray((pgno - 1) * this.pageSize, pgno * this.pageSize);
  }
}

/** The states of a real database in WAL mode, one for each of `steps` (SQL). */
export function sqliteHistory(folder: string, steps: readonly string[], pageSize = 4096): History {
  const path = join(folder, 'history.db');
  const database = new DatabaseSync(path);
  database.exec(`PRAGMA page_size = ${pageSize}; PRAGMA journal_mode = wal`);
  const states = steps.map((sql) => {
    database.exec(`${sql}; PRAGMA wal_checkpoint(TRUNCATE)`);
    return readFileSync(path);
  });
  database.close();
  rmSync(path);
  return new History(pageSize, states);
}

export function databaseChecksum(database: Buffer, pageSize: number): Checksum {
  using batch = new PageBatch(pageSize, 1);
  let xor = 0n;
  for (let pgno = 1; pgno <= database.length / pageSize; pgno++) {
    batch.bytes.set(database.subarray((pgno - 1) * pageSize, pgno * pageSize));
    batch.pgnos[0] = pgno;
    xor ^= batch.hash(1);
  }
  return checksum(xor | CHECKSUM_FLAG);
}

const NOISE = Buffer.concat(Array.from({ length: 4096 }, (_, i) => createHash('sha256').update(`${i}`).digest()));

/** A page of bytes that look random, half of it compressible; the same for the same seed. */
export function pageOf(pageSize: number, seed: string): Buffer {
  const bytes = Buffer.alloc(pageSize, `${seed}.`);
  const from = createHash('sha256').update(seed).digest().readUInt32BE() % (NOISE.length - pageSize / 2);
  NOISE.copy(bytes, 0, from, from + pageSize / 2);
  return bytes;
}

/** Objects in memory, to read, change and spoil. Counts what is read. */
export class MemoryStore implements ReadableStore {
  readonly url = 'memory://replica';
  readonly objects = new Map<string, Buffer>();
  /** Called before each open. What it throws is what the open throws. */
  onOpen: (key: string, options: OpenOptions) => void | Promise<void> = () => undefined;
  onList: (prefix: string) => void | Promise<void> = () => undefined;
  opens = 0;
  bytesRead = 0;

  addFile(history: History, level: Level, min: number, max: number): string {
    const key = FILE_LAYOUT.key(level, BigInt(min), BigInt(max));
    this.objects.set(key, history.file(min, max));
    return key;
  }

  async *list(prefix: string, _options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    await this.onList(prefix);
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    for (const key of keys) yield { key, sizeBytes: this.objects.get(key)?.length ?? 0, modifiedMs: 1_700_000_000_000 };
  }

  async open(key: string, options: OpenOptions = {}): Promise<ObjectReader> {
    this.opens++;
    options.signal?.throwIfAborted();
    await this.onOpen(key, options);
    const object = this.objects.get(key);
    if (!object) throw new StoreError('not-found', { message: `${this.url}/${key} does not exist` });
    const from = options.offset ?? 0;
    const bytes = object.subarray(from, options.length === undefined ? undefined : from + options.length);
    let at = 0;
    return {
      read: async (target) => {
        const got = bytes.copy(target, 0, at, Math.min(bytes.length, at + 50_000));
        at += got;
        this.bytesRead += got;
        return got;
      },
      close: async () => undefined,
    };
  }

  async close(): Promise<void> {}
}
