import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PageMap } from '../../src/restore/page-map.ts';

const claims = fc.array(
  fc.record({
    file: fc.integer({ min: 0, max: 5 }),
    pgno: fc.integer({ min: 1, max: 60 }),
  }),
  { maxLength: 150, size: 'max' },
);

/** Where file `file` has page `pgno`: ascending with the page number, past 4 GiB for one of the files. */
function frame(file: number, pgno: number): { offset: number; length: number } {
  return { offset: (file === 3 ? 0x1_0000_0000_00 : 100) + pgno * 50, length: 20 + (pgno % 31) };
}

describe('page map', () => {
  test('keeps the newest version of each page, and its ranges hold each of them exactly once', () => {
    fc.assert(
      fc.property(claims, fc.nat({ max: 200 }), fc.integer({ min: 60, max: 400 }), (list, gapBytes, rangeBytes) => {
        const pageCount = 50; // claims of pages past the end are of versions that a shrink left behind
        const map = new PageMap(pageCount);
        const newest = new Map<number, number>();
        for (const { file, pgno } of list) {
          const { offset, length } = frame(file, pgno);
          map.claim(file, pgno, offset, length);
          if (pgno <= pageCount) newest.set(pgno, Math.max(newest.get(pgno) ?? 0, file));
        }
        map.sort(6);
        const seen = new Map<number, number>();
        let lastFile = 0;
        for (const range of map.ranges({ rangeBytes, gapBytes })) {
          assert.ok(range.file >= lastFile && range.length <= rangeBytes && range.count > 0);
          lastFile = range.file;
          let end = range.offset;
          for (let at = range.first; at < range.first + range.count; at++) {
            const pgno = map.pgnoAt(at);
            assert.deepEqual({ offset: map.offsetAt(at), length: map.lengthAt(at) }, frame(range.file, pgno));
            assert.ok(map.offsetAt(at) >= end && map.offsetAt(at) - end <= gapBytes);
            end = map.offsetAt(at) + map.lengthAt(at);
            assert.equal(seen.has(pgno), false);
            seen.set(pgno, range.file);
          }
          assert.equal(end, range.offset + range.length);
        }
        assert.deepEqual(
          [...seen].sort((a, b) => a[0] - b[0]),
          [...newest].sort((a, b) => a[0] - b[0]),
        );
        const missing = Array.from({ length: pageCount }, (_, i) => i + 1).filter((p) => !newest.has(p) && p !== 7);
        assert.deepEqual(map.missing(7, 10), missing.slice(0, 10));
      }),
      { numRuns: 500 },
    );
  });
});
