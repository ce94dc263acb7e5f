import assert from 'node:assert/strict';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { WalReader } from '../../src/capture/wal-reader.ts';
import { kernel } from '../../src/kernel/kernel.ts';
import { readDatabaseHeader } from '../../src/sqlite/database-header.ts';
import { isPageSize, lockPageNumber } from '../../src/sqlite/lock-page.ts';
import { frameSize, readWalHeader, WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE, walChecksum } from '../../src/sqlite/wal.ts';
import { readWalIndexHead } from '../../src/sqlite/wal-index.ts';
import { tempFolder } from '../support/temp.ts';

interface Frame {
  readonly pgno: number;
  readonly commit: number;
  readonly page: Uint8Array;
}

/** A WAL made the plain way, with checksums of either byte order. */
function makeWal(pageSize: number, bigEndian: boolean, salts: Uint8Array, frames: readonly Frame[]): Buffer {
  const header = Buffer.alloc(WAL_HEADER_SIZE);
  header.writeUInt32BE(bigEndian ? 0x377f0683 : 0x377f0682, 0);
  header.writeUInt32BE(3_007_000, 4);
  header.writeUInt32BE(pageSize, 8);
  header.set(salts, 16);
  let sums = walChecksum(header.subarray(0, 24), bigEndian);
  header.writeUInt32BE(sums.first, 24);
  header.writeUInt32BE(sums.second, 28);
  const parts = [header];
  for (const frame of frames) {
    const bytes = Buffer.alloc(frameSize(pageSize));
    bytes.writeUInt32BE(frame.pgno, 0);
    bytes.writeUInt32BE(frame.commit, 4);
    bytes.set(salts, 8);
    bytes.set(frame.page, WAL_FRAME_HEADER_SIZE);
    sums = chained(chained(sums, bytes.subarray(0, 8), bigEndian), bytes.subarray(WAL_FRAME_HEADER_SIZE), bigEndian);
    bytes.writeUInt32BE(sums.first, 16);
    bytes.writeUInt32BE(sums.second, 20);
    parts.push(bytes);
  }
  return Buffer.concat(parts);
}

function chained(from: { first: number; second: number }, bytes: Buffer, bigEndian: boolean) {
  let { first, second } = from;
  for (let at = 0; at < bytes.length; at += 8) {
    first = (first + (bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at)) + second) >>> 0;
    second = (second + (bigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4)) + first) >>> 0;
  }
  return { first, second };
}

const arbitraryWal = fc.record({
  pageSize: fc.constantFrom(512, 1024, 4096),
  bigEndian: fc.boolean(),
  salts: fc.uint8Array({ minLength: 8, maxLength: 8 }),
  frames: fc.array(
    fc.record({
      pgno: fc.integer({ min: 1, max: 2 ** 32 - 2 }),
      commit: fc.nat({ max: 2 ** 32 - 2 }),
      seed: fc.nat({ max: 255 }),
    }),
    { minLength: 1, maxLength: 12 },
  ),
});

describe('the WAL', () => {
  test('frames of either byte order are read and proven, in any batches', (t) => {
    const folder = tempFolder(t);
    fc.assert(
      fc.property(arbitraryWal, ({ pageSize, bigEndian, salts, frames }) => {
        const made = frames.map(({ pgno, commit, seed }) => ({
          pgno,
          commit,
          page: new Uint8Array(pageSize).fill(seed),
        }));
        const path = join(folder, 'wal');
        writeFileSync(path, makeWal(pageSize, bigEndian, salts, made));
        using wal = new WalReader(openSync(path, 'r'), pageSize);
        let cursor = wal.read({ salts, frames: 0, sums: undefined }, Math.ceil(made.length / 2));
        assert.ok(typeof cursor !== 'string');
        if (cursor.frames < made.length) cursor = wal.read(cursor, made.length);
        assert.ok(typeof cursor !== 'string');
        assert.equal(cursor.frames, made.length);
        assert.deepEqual(wal.sums(wal.count - 1), cursor.sums);
        using page = kernel().allocate(pageSize);
        for (let i = 0; i < wal.count; i++) {
          const frame = made[wal.first + i];
          assert.equal(wal.pgno(i), frame?.pgno);
          assert.equal(wal.commit(i), frame?.commit);
          kernel().fn.copy(page.pointer, wal.pageAt(i), pageSize);
          assert.deepEqual(Buffer.from(page.bytes), Buffer.from(frame?.page ?? []));
        }
      }),
      { numRuns: 60 },
    );
  });

  test('any changed byte of the frames or the header breaks the chain', (t) => {
    const folder = tempFolder(t);
    const salts = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
    const frames = [1, 2, 3].map((pgno) => ({ pgno, commit: pgno, page: new Uint8Array(512).fill(pgno) }));
    const whole = makeWal(512, false, salts, frames);
    const path = join(folder, 'wal');
    for (let at = 0; at < whole.length; at += at < 100 ? 1 : 37) {
      const bad = Buffer.from(whole);
      bad[at] = (bad[at] ?? 0) ^ 0x40;
      writeFileSync(path, bad);
      using wal = new WalReader(openSync(path, 'r'), 512);
      // The sequence number (12..16) is covered by the header's checksum, so it counts too.
      let outcome: unknown;
      try {
        outcome = wal.read({ salts, frames: 0, sums: undefined }, 3);
      } catch (error) {
        outcome = String(error);
      }
      assert.equal(typeof outcome, 'string', `byte ${at}`);
    }
    writeFileSync(path, whole.subarray(0, whole.length - 1));
    using wal = new WalReader(openSync(path, 'r'), 512);
    assert.equal(wal.read({ salts, frames: 0, sums: undefined }, 3), 'short');
  });

  test("SQLite's own WAL and WAL-index are read as SQLite means them", (t) => {
    const folder = tempFolder(t);
    const path = join(folder, 'app.db');
    const database = new DatabaseSync(path);
    database.exec('PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); INSERT INTO t VALUES (1)');
    const head = readWalIndexHead(readFileSync(`${path}-shm`).subarray(0, 100));
    assert.ok(head);
    const header = readWalHeader(readFileSync(`${path}-wal`));
    assert.ok(header);
    assert.deepEqual(Buffer.from(head.salts), Buffer.from(header.salts));
    assert.equal(head.backfilled, 0);
    using wal = new WalReader(openSync(`${path}-wal`, 'r'), header.pageSize);
    const end = wal.read({ salts: head.salts, frames: 0, sums: undefined }, head.mxFrame);
    assert.ok(typeof end !== 'string');
    assert.deepEqual(end.sums, head.sums);
    assert.equal(wal.commit(wal.count - 1), head.pageCount);
    database.exec('PRAGMA wal_checkpoint(PASSIVE)');
    const after = readWalIndexHead(readFileSync(`${path}-shm`).subarray(0, 100));
    assert.equal(after?.backfilled, head.mxFrame);
    database.close();
  });

  test('a torn WAL-index head is not read', (t) => {
    const folder = tempFolder(t);
    const database = new DatabaseSync(join(folder, 'app.db'));
    database.exec('PRAGMA journal_mode=wal; CREATE TABLE t(x)');
    const bytes = readFileSync(join(folder, 'app.db-shm')).subarray(0, 100);
    database.close();
    assert.ok(readWalIndexHead(bytes));
    for (let at = 0; at < 96; at++) {
      const torn = Buffer.from(bytes);
      torn[at] = (torn[at] ?? 0) ^ 1;
      assert.equal(readWalIndexHead(torn), undefined, `byte ${at}`);
    }
    for (let at = 0; at < 40; at++) {
      const wrong = Buffer.from(bytes);
      wrong[at] = (wrong[at] ?? 0) ^ 1;
      wrong[at + 48] = (wrong[at + 48] ?? 0) ^ 1;
      assert.equal(readWalIndexHead(wrong), undefined, `byte ${at} in both copies`);
    }
  });
});

describe('the database header', () => {
  test('tells databases from empty files and everything else', (t) => {
    const folder = tempFolder(t);
    for (const pageSize of [512, 4096, 65_536]) {
      const path = join(folder, `${pageSize}.db`);
      const database = new DatabaseSync(path);
      database.exec(`PRAGMA page_size=${pageSize}; PRAGMA journal_mode=wal; CREATE TABLE t(x)`);
      database.close();
      const reading = readDatabaseHeader(readFileSync(path).subarray(0, 100));
      assert.deepEqual(reading, { kind: 'database', header: { pageSize, walMode: true, pageCount: 2 } });
    }
    assert.deepEqual(readDatabaseHeader(new Uint8Array(0)), { kind: 'empty' });
    assert.deepEqual(readDatabaseHeader(Buffer.from('SQLite format 3')), { kind: 'not-a-database' });
    assert.deepEqual(readDatabaseHeader(Buffer.alloc(100, 7)), { kind: 'not-a-database' });
  });

  test('page sizes and their lock pages', () => {
    assert.equal(lockPageNumber(4096), 262_145);
    assert.equal(lockPageNumber(65_536), 16_385);
    assert.deepEqual([256, 512, 1000, 65_536, 131_072].map(isPageSize), [false, true, false, true, false]);
  });
});
