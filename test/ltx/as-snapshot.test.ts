import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checksum, txid } from '../../src/base/types.ts';
import { asSnapshot, checksumOffset } from '../../src/ltx/as-snapshot.ts';
import { HEADER_SIZE } from '../../src/ltx/format.ts';
import { locateIndex } from '../../src/ltx/page-index.ts';
import { databaseChecksum, pageOf } from '../restore/history.ts';
import { header, makeLtx, readLtx } from '../support/ltx.ts';

test('a complete image becomes the snapshot that the encoder itself would write', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(512, 4096, 65_536),
      fc.integer({ min: 0, max: 40 }),
      fc.bigInt({ min: 2n, max: (1n << 63n) - 1n }),
      (pageSize, commit, id) => {
        const pages = Array.from({ length: commit }, (_, i) => ({
          pgno: i + 1,
          bytes: pageOf(pageSize, `${id} ${i}`),
        }));
        const bytes = Buffer.concat(pages.map((page) => page.bytes));
        const databaseSum = commit > 0 ? databaseChecksum(bytes, pageSize) : checksum(0n);
        const wal = { offset: 32n, size: 0n, salt1: 7, salt2: 8 };
        const head = header({
          pageSize,
          commit,
          databaseChecksum: databaseSum,
          wal,
          minTxid: txid(id),
          maxTxid: txid(id),
        });
        const file = makeLtx(head, pages);

        const ends = asSnapshot(
          file.subarray(0, HEADER_SIZE),
          readLtx(file).trailer,
          locateIndex(file, file.length).size,
        );
        file.set(ends.head);
        file.writeBigUInt64BE(ends.fileChecksum, checksumOffset(file.length));
        assert.deepEqual(file, makeLtx({ ...head, minTxid: txid(1) }, pages));
        assert.equal(readLtx(file).header.minTxid, 1n);
      },
    ),
    { numRuns: 60 },
  );
});
