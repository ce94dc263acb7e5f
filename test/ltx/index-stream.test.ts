import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { txid } from '../../src/base/types.ts';
import { readVarint, writeVarint } from '../../src/ltx/frame-list.ts';
import { IndexStream } from '../../src/ltx/index-stream.ts';
import { LtxError } from '../../src/ltx/ltx-error.ts';
import { locateIndex, TAIL_BYTES } from '../../src/ltx/page-index.ts';
import { header, makeLtx } from '../support/ltx.ts';
import { decodePageIndex } from '../support/page-index.ts';

const COMMIT = 3000;
const HEAD = header({ pageSize: 512, commit: COMMIT, minTxid: txid(2), maxTxid: txid(2) });

const anyFile = fc
  .uniqueArray(fc.integer({ min: 1, max: COMMIT }), { maxLength: 80, size: 'max' })
  .map((pgnos) => pgnos.sort((a, b) => a - b).map((pgno) => ({ pgno, bytes: Buffer.alloc(512, `page ${pgno}`) })))
  .map((pages) => makeLtx(HEAD, pages));

type Frame = [pgno: number, offset: number, length: number];

function readInPieces(bytes: Uint8Array, location: { offset: number; size: number }, pieceBytes: number): Frame[] {
  const frames: Frame[] = [];
  const stream = new IndexStream(location, HEAD, (...frame) => frames.push(frame));
  for (let at = 0; at < bytes.length; at += pieceBytes) stream.push(bytes.subarray(at, at + pieceBytes));
  stream.end();
  return frames;
}

function readWhole(bytes: Uint8Array, location: { offset: number; size: number }): Frame[] {
  const { count, pgnos, offsets, lengths } = decodePageIndex(bytes, location, HEAD);
  return Array.from({ length: count }, (_, i) => [pgnos[i] ?? 0, offsets[i] ?? 0, lengths[i] ?? 0]);
}

/** What a reader gives, or that it refuses. */
function outcome(read: () => Frame[]): Frame[] | 'refused' {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof LtxError);
    return 'refused';
  }
}

describe('page index, read in pieces', () => {
  test('says the same as when read whole, for any file and any size of the pieces', () => {
    fc.assert(
      fc.property(anyFile, fc.integer({ min: 1, max: 100 }), (file, pieceBytes) => {
        const location = locateIndex(file, file.length);
        const bytes = file.subarray(location.offset, file.length - TAIL_BYTES);
        assert.deepEqual(readInPieces(bytes, location, pieceBytes), readWhole(bytes, location));
      }),
    );
  });

  test('refuses what is refused when read whole, whatever byte is wrong', () => {
    fc.assert(
      fc.property(anyFile, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.boolean(), (file, at, flip, cut) => {
        const location = locateIndex(file, file.length);
        let bytes = Buffer.from(file.subarray(location.offset, file.length - TAIL_BYTES));
        if (cut) bytes = bytes.subarray(0, at % bytes.length);
        else bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ flip;
        assert.deepEqual(
          outcome(() => readInPieces(bytes, location, 7)),
          outcome(() => readWhole(bytes, location)),
        );
      }),
      { numRuns: 1000 },
    );
  });

  test('refuses numbers that no file can hold, without reading on', () => {
    const bytes = new Uint8Array(64);
    writeVarint(bytes, 0, Number.MAX_SAFE_INTEGER);
    assert.throws(() => readInPieces(bytes, { offset: 10_000, size: 64 }, 64), LtxError);
    assert.throws(() => readInPieces(new Uint8Array(64).fill(0xff), { offset: 10_000, size: 64 }, 1), LtxError);
  });
});

test('a varint says any offset of any file, and is the shortest that does', () => {
  const edges = [0, 127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 35, 2 ** 53 - 1];
  fc.assert(
    fc.property(fc.oneof(fc.constantFrom(...edges), fc.maxSafeNat()), (value) => {
      const bytes = new Uint8Array(10);
      const end = writeVarint(bytes, 0, value);
      assert.deepEqual(readVarint(bytes.subarray(0, end), 0), { value, next: end });
      assert.equal(end, Math.max(1, Math.ceil(value.toString(2).length / 7)));
    }),
  );
});
