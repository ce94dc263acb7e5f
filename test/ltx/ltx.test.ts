import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { checksum, txid } from '../../src/base/types.ts';
import { crcOf } from '../../src/ltx/encoder.ts';
import {
  decodeHeader,
  encodeHeader,
  formatLtxName,
  HEADER_SIZE,
  type LtxHeader,
  MIN_FILE_SIZE,
  parseLtxName,
  TRAILER_SIZE,
} from '../../src/ltx/format.ts';
import { LtxError } from '../../src/ltx/ltx-error.ts';
import type { PageEncoding } from '../../src/ltx/page-encoder.ts';
import { locateIndex, readTrailer } from '../../src/ltx/page-index.ts';
import { lockPageNumber } from '../../src/sqlite/lock-page.ts';
import { header, makeLtx, type Page, readLtx } from '../support/ltx.ts';
import { decodePageIndex } from '../support/page-index.ts';

const PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
const ENCODINGS: readonly PageEncoding[] = ['block', 'frame'];

/** CRC-64 (ISO) a bit at a time: the definition, to hold the kernels against. */
function plainCrc(bytes: Uint8Array): bigint {
  let crc = 0xffff_ffff_ffff_ffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0xd800_0000_0000_0000n : crc >> 1n;
  }
  return crc ^ 0xffff_ffff_ffff_ffffn;
}

/** The page index of a file. */
function indexOf(file: Buffer): Uint8Array {
  const { offset, size } = locateIndex(file.subarray(-64), file.length);
  return file.subarray(offset, offset + size);
}

/** Pages of mixed compressibility, made from a seed. */
function pageBytes(pageSize: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(pageSize);
  let state = seed | 1;
  const random = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state >>> 8;
  };
  if (seed % 5 === 0) return bytes;
  for (let i = 0; i < pageSize; i++)
    bytes[i] = seed % 5 === 1 ? random() : seed % 5 === 2 ? random() & 3 : i % (seed % 97);
  return bytes;
}

interface ForgedPage {
  readonly pgno: number;
  readonly bytes: Uint8Array;
  /** Default: one LZ4 block of literals. */
  readonly frame?: Uint8Array;
}

/** Puts a file together by hand, whatever it says: index and file checksum are right, all else is the caller's. */
function forge(head: LtxHeader, pages: readonly ForgedPage[], index?: Uint8Array): Buffer {
  const parts: Uint8Array[] = [encodeHeader(head)];
  const hashed: Uint8Array[] = [encodeHeader(head)];
  const entries: number[] = [];
  let offset = HEADER_SIZE;
  for (const { pgno, bytes, frame = blockFrame(pgno, bytes) } of pages) {
    const buffer = Buffer.from(frame);
    parts.push(buffer);
    hashed.push(buffer.subarray(0, buffer[5] === 0 ? 6 : 10), Buffer.from(bytes));
    entries.push(pgno, offset, buffer.length);
    offset += buffer.length;
  }
  const indexBytes = Buffer.from(index ?? [...entries.flatMap(varint), 0]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(indexBytes.length));
  const rest = [Buffer.alloc(6), indexBytes, size, Buffer.alloc(8)];
  const sum = Buffer.alloc(8);
  sum.writeBigUInt64BE(crcOf(0n, Buffer.concat([...hashed, ...rest])) | (1n << 63n));
  return Buffer.concat([...parts, ...rest, sum]);
}

function blockFrame(pgno: number, bytes: Uint8Array): Uint8Array {
  const left = bytes.length - 15;
  const literals = [0xf0, ...Array.from({ length: Math.floor(left / 255) }, () => 255), left % 255, ...bytes];
  const head = Buffer.alloc(10);
  head.writeUInt32BE(pgno);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(literals.length, 6);
  return Buffer.concat([head, Buffer.from(literals)]);
}

/** A page as an LZ4 frame that begins with this many blocks of nothing. */
function frameWithEmptyBlocks(pgno: number, bytes: Uint8Array, count: number): Uint8Array {
  const head = Buffer.alloc(6);
  head.writeUInt32BE(pgno);
  const empty = Buffer.alloc(4 * count);
  for (let i = 0; i < count; i++) empty.writeUInt32LE(0x8000_0000, 4 * i);
  const field = Buffer.alloc(4);
  field.writeUInt32LE(0x8000_0000 + bytes.length);
  const start = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]); // no checksums
  return Buffer.concat([head, start, empty, field, bytes, Buffer.alloc(4)]);
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}

const arbitraryFile = fc
  .record({
    pageSize: fc.constantFrom(...PAGE_SIZES),
    encoding: fc.constantFrom(...ENCODINGS),
    gaps: fc.array(fc.tuple(fc.integer({ min: 1, max: 400_000 }), fc.nat()), { maxLength: 40 }),
    batchPages: fc.integer({ min: 1, max: 16 }),
    pieceBytes: fc.integer({ min: 1, max: 100_000 }),
    minTxid: fc.bigInt({ min: 2n, max: 2n ** 64n - 1n }),
    timestampMs: fc.nat({ max: 2 ** 45 }),
    databaseChecksum: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
  })
  .map((fields) => {
    const pages: Page[] = [];
    let pgno = 0;
    for (const [gap, seed] of fields.gaps) {
      pgno += gap;
      if (pgno === lockPageNumber(fields.pageSize)) pgno++;
      pages.push({ pgno, bytes: pageBytes(fields.pageSize, seed % 1000) });
    }
    const commit = Math.max(pgno, 1);
    const id = txid(fields.minTxid);
    const head = header({
      pageSize: fields.pageSize,
      commit,
      minTxid: id,
      maxTxid: id,
      timestampMs: fields.timestampMs,
      wal: { offset: 32n, size: BigInt(pages.length), salt1: 7, salt2: 0xffff_ffff },
      databaseChecksum: checksum(fields.databaseChecksum | (1n << 63n)),
    });
    return { ...fields, head, pages };
  });

describe('LTX files', () => {
  test('the CRC-64 has the published check value and equals the definition at every length', () => {
    assert.equal(crcOf(0n, Buffer.from('123456789')), 0xb909_56c7_75a4_1001n);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 700 }), (bytes) => crcOf(0n, bytes) === plainCrc(bytes)),
      { numRuns: 60 },
    );
  });

  test('what is encoded is decoded, whatever the page size, encoding, batches and pieces', () => {
    fc.assert(
      fc.property(arbitraryFile, (input) => {
        const file = makeLtx(input.head, input.pages, input);
        const back = readLtx(file, input.pieceBytes);
        assert.deepEqual(back.header, input.head);
        assert.deepEqual(back.pages, input.pages);
      }),
      { numRuns: 150 },
    );
  });

  test('the same pages give the same bytes however they are cut into batches', () => {
    fc.assert(
      fc.property(arbitraryFile, (input) => {
        const whole = makeLtx(input.head, input.pages, { encoding: input.encoding });
        assert.deepEqual(makeLtx(input.head, input.pages, input), whole);
      }),
      { numRuns: 40 },
    );
  });

  test('the same pages give the same bytes on several threads', () => {
    const pages = Array.from({ length: 600 }, (_, i) => ({ pgno: i + 1, bytes: pageBytes(4096, i) }));
    const head = header({ pageSize: 4096, commit: 600 });
    const alone = makeLtx(head, pages, { batchPages: 7 });
    for (let round = 0; round < 3; round++)
      assert.deepEqual(makeLtx(head, pages, { batchPages: 7, threads: 2 }), alone);
  });

  test('the file checksum is that of the uncompressed bytes, computed the plain way', () => {
    for (const encoding of ENCODINGS) {
      const pages = [2, 3, 9].map((pgno) => ({ pgno, bytes: pageBytes(512, pgno) }));
      const file = makeLtx(header({ pageSize: 512, commit: 9, minTxid: txid(4), maxTxid: txid(4) }), pages, {
        encoding,
      });
      const tail = file.subarray(file.length - 200);
      const location = locateIndex(tail, file.length);
      const index = decodePageIndex(
        file.subarray(location.offset, location.offset + location.size),
        location,
        decodeHeader(file),
      );
      const logical: Uint8Array[] = [file.subarray(0, HEADER_SIZE)];
      pages.forEach((page, i) => {
        const at = index.offsets[i] ?? 0;
        logical.push(file.subarray(at, at + (encoding === 'block' ? 10 : 6)), page.bytes);
      });
      logical.push(file.subarray(location.offset - 6, file.length - 8));
      const { fileChecksum } = readTrailer(tail, decodeHeader(file));
      assert.equal(fileChecksum, plainCrc(Buffer.concat(logical)) | (1n << 63n));
    }
  });

  test('the page index read from the tail points at every frame', () => {
    fc.assert(
      fc.property(arbitraryFile, (input) => {
        const file = makeLtx(input.head, input.pages, input);
        const location = locateIndex(file.subarray(-64), file.length);
        const bytes = file.subarray(location.offset, location.offset + location.size);
        const index = decodePageIndex(bytes, location, input.head);
        assert.deepEqual(
          [...index.pgnos],
          input.pages.map((page) => page.pgno),
        );
        for (let i = 0; i < index.count; i++) assert.equal(file.readUInt32BE(index.offsets[i]), index.pgnos[i]);
      }),
      { numRuns: 60 },
    );
  });

  test('a snapshot stores all pages but the lock page, across it', () => {
    const pageSize = 65_536;
    const lock = lockPageNumber(pageSize);
    const blank = new Uint8Array(pageSize);
    const pages: Page[] = [];
    for (let pgno = 1; pgno <= lock + 2; pgno++) if (pgno !== lock) pages.push({ pgno, bytes: blank });
    const head = header({ pageSize, commit: lock + 2 });
    const back = readLtx(makeLtx(head, pages));
    assert.equal(back.pages.length, lock + 1);
    assert.equal(
      back.pages.some((page) => page.pgno === lock),
      false,
    );
    assert.throws(() => makeLtx(head, pages.slice(0, -1)), /snapshot stores all/);
    assert.throws(() => makeLtx(head, [...pages.slice(0, 5), { pgno: lock, bytes: blank }]), /can be stored/);
  });

  test('an empty increment is the smallest file', () => {
    const file = makeLtx(header({ pageSize: 4096, commit: 3, minTxid: txid(2), maxTxid: txid(2) }), []);
    assert.equal(file.length, MIN_FILE_SIZE);
    assert.equal(readLtx(file).pages.length, 0);
  });

  test('files with checksums of the database before and after are read and proven', () => {
    const page = { pgno: 1, bytes: pageBytes(512, 7) };
    const content = plainCrc(Buffer.concat([Buffer.from([0, 0, 0, 1]), page.bytes])) | (1n << 63n);
    const head = header({ pageSize: 512, commit: 1, flags: 0 });
    assert.equal(readLtx(makeLtx(head, [page], { postApplyChecksum: checksum(content) })).databaseXor, content);
    const wrong = makeLtx(head, [page], { postApplyChecksum: checksum(content ^ 1n) });
    assert.throws(() => readLtx(wrong), /post-apply checksum/);
    const lying = makeLtx(header({ pageSize: 512, commit: 1, databaseChecksum: checksum(content ^ 1n) }), [page]);
    assert.throws(() => readLtx(lying), /database checksum/);
  });

  for (const encoding of ENCODINGS) {
    test(`a flipped bit is a named LTX error or changes no page; a missing or added byte is an error (${encoding} pages)`, () => {
      const pages = [1, 2, 3].map((pgno) => ({ pgno, bytes: pageBytes(512, pgno + 3) }));
      const file = makeLtx(header({ pageSize: 512, commit: 3 }), pages, { encoding });
      const { offset } = locateIndex(file.subarray(-64), file.length);
      for (let at = 0; at < file.length; at++) {
        for (const bit of [1, 0x10, 0x80]) {
          const bad = Buffer.from(file);
          bad[at] = (bad[at] ?? 0) ^ bit;
          // The file checksum covers the uncompressed pages, so compressed bytes that mean the same are no damage.
          try {
            assert.deepEqual(readLtx(bad).pages, pages, `byte ${at} ^ ${bit}`);
            assert.ok(at > HEADER_SIZE && at < offset, `byte ${at} ^ ${bit} went unnoticed`);
          } catch (error) {
            if (!(error instanceof LtxError)) throw error;
          }
        }
      }
      for (let size = 0; size < file.length; size++) {
        assert.throws(() => readLtx(file.subarray(0, size)), LtxError, `cut to ${size}`);
      }
      assert.throws(() => readLtx(Buffer.concat([file, Buffer.alloc(1)])), { fault: 'trailing' });
    });
  }

  test('every part of a file has its own fault', () => {
    const pages = [1, 2, 3].map((pgno) => ({ pgno, bytes: pageBytes(512, pgno + 3) }));
    const file = makeLtx(header({ pageSize: 512, commit: 3 }), pages);
    const { offset } = locateIndex(file.subarray(-64), file.length);
    const at = (position: number, value: number) => {
      const bad = Buffer.from(file);
      bad[position] = value;
      return () => readLtx(bad);
    };
    assert.throws(at(0, 0x58), { fault: 'not-ltx' });
    assert.throws(at(7, 4), { fault: 'header', message: /flags/ });
    assert.throws(at(10, 3), { fault: 'header', message: /page size/ });
    assert.throws(at(23, 9), { fault: 'header', message: /comes after/ });
    assert.throws(at(32, 0xff), { fault: 'header', message: /timestamp/ });
    assert.throws(at(47, 1), { fault: 'header', message: /pre-apply/ });
    assert.throws(at(63, 1), { fault: 'header', message: /WAL size/ });
    assert.throws(at(64, 1), { fault: 'header', message: /WAL salts/ });
    assert.throws(at(87, 1), { fault: 'header', message: /database checksum/ });
    assert.throws(at(HEADER_SIZE + 3, 9), { fault: 'page', message: /page 9/ });
    assert.throws(at(HEADER_SIZE + 5, 2), { fault: 'page', message: /flags/ });
    assert.throws(at(HEADER_SIZE + 6, 2), { fault: 'page', message: /size/ });
    assert.throws(at(offset, 9), { fault: 'index' });
    assert.throws(at(file.length - TRAILER_SIZE - 1, 99), { fault: 'index', message: /size/ });
    assert.throws(at(file.length - TRAILER_SIZE, 1), { fault: 'trailer', message: /post-apply/ });
    assert.throws(at(file.length - 8, 0), { fault: 'trailer', message: /file checksum/ });
    assert.throws(at(file.length - 1, (file.at(-1) ?? 0) ^ 1), { fault: 'checksum' });
    assert.throws(at(39, 1), { fault: 'checksum' });
  });

  test('a damaged page index is refused before anything is read by it', () => {
    const pages = [1, 2, 3].map((pgno) => ({ pgno, bytes: pageBytes(512, pgno + 3) }));
    const head = header({ pageSize: 512, commit: 3 });
    const file = makeLtx(head, pages);
    const location = locateIndex(file.subarray(-64), file.length);
    const index = file.subarray(location.offset, location.offset + location.size);
    for (let at = 0; at < index.length; at++) {
      for (let value = 0; value < 256; value++) {
        if (index[at] === value) continue;
        const bad = Buffer.from(index);
        bad[at] = value;
        assert.throws(() => decodePageIndex(bad, location, head), LtxError, `byte ${at} = ${value}`);
      }
    }
    assert.throws(() => locateIndex(file.subarray(-64), 60), { fault: 'truncated' });
    const lying = Buffer.from(file);
    lying.writeBigUInt64BE(2n ** 40n, file.length - 24);
    assert.throws(() => locateIndex(lying.subarray(-64), file.length), { fault: 'index' });
  });

  test('what no writer makes is refused, though all its checksums are right', () => {
    const page = (pgno: number, pageSize = 512): ForgedPage => ({ pgno, bytes: pageBytes(pageSize, pgno + 3) });
    const image = header({ pageSize: 512, commit: 3 });
    const increment = (commit: number, pageSize = 512): LtxHeader =>
      header({ pageSize, commit, minTxid: txid(2), maxTxid: txid(2) });
    assert.deepEqual(readLtx(forge(image, [page(1), page(2), page(3)])).pages.length, 3);
    assert.throws(() => readLtx(forge(image, [page(1), page(3)])), { fault: 'page', message: /must store 3, not 2/ });
    const lock = lockPageNumber(65_536);
    const onLock = forge(increment(lock + 1, 65_536), [page(lock, 65_536)]);
    assert.throws(() => readLtx(onLock), { fault: 'page' });
    assert.throws(
      () =>
        decodePageIndex(indexOf(onLock), locateIndex(onLock.subarray(-64), onLock.length), increment(lock + 1, 65_536)),
      { fault: 'index' },
    );
    assert.throws(() => readLtx(forge(increment(3), [page(2), page(2)])), { fault: 'page' });
    const twice = forge(increment(3), [page(2), page(2)]);
    assert.throws(() => decodePageIndex(indexOf(twice), locateIndex(twice.subarray(-64), twice.length), increment(3)), {
      fault: 'index',
    });
    assert.throws(() => readLtx(forge(increment(3), [page(4)])), { fault: 'page' });
    const dressed = (blocks: number): Buffer => {
      const { pgno, bytes } = page(2);
      return forge(increment(3), [{ pgno, bytes, frame: frameWithEmptyBlocks(pgno, bytes, blocks) }]);
    };
    assert.equal(readLtx(dressed(3)).pages.length, 1);
    assert.throws(() => readLtx(dressed(400_000)), { fault: 'page', message: /longer than one can be/ });
  });

  test('file names are read strictly', () => {
    assert.equal(formatLtxName(1n, 255n), '0000000000000001-00000000000000ff.ltx');
    assert.deepEqual(parseLtxName('0000000000000001-00000000000000ff.ltx'), { minTxid: 1n, maxTxid: 255n });
    for (const name of [
      '0000000000000001-00000000000000FF.ltx',
      '0000000000000002-0000000000000001.ltx',
      '0000000000000000-0000000000000001.ltx',
      '0000000000000001-0000000000000001.ltx.tmp',
      '1-1.ltx',
    ]) {
      assert.equal(parseLtxName(name), undefined, name);
    }
  });
});
