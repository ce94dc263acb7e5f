import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CHECKSUM_FLAG } from '../../src/base/types.ts';
import { PageHashes } from '../../src/replica/page-hashes.ts';
import { tempFolder } from '../support/temp.ts';

/** Around the borders of the pieces in which a table is kept. */
const page = fc.oneof(fc.integer({ min: 1, max: 3500 }), fc.constantFrom(1, 1023, 1024, 1025, 2048, 2049, 3072, 3073));
const hash = fc.bigInt(1n, 0xffff_ffff_ffff_ffffn);
const action = fc.oneof(
  fc.record({ set: page, hash }),
  fc.record({ resize: page }),
  fc.record({ fill: page, hashes: fc.array(hash, { minLength: 1, maxLength: 1200, size: 'max' }) }),
);

test('a table of page hashes is what was set in it', (t) => {
  const folder = tempFolder(t);
  fc.assert(
    fc.property(fc.array(action, { maxLength: 12 }), (actions) => {
      using hashes = new PageHashes(folder);
      let model: bigint[] = [];
      for (const each of actions) {
        if ('resize' in each) {
          hashes.resize(each.resize);
          model = Array.from({ length: each.resize }, (_, i) => model[i] ?? 0n);
        } else if ('set' in each) {
          if (each.set > model.length) continue;
          hashes.set(each.set, each.hash);
          model[each.set - 1] = each.hash;
        } else {
          // Only what is unknown can be filled.
          const part = each.hashes.slice(0, Math.max(0, model.length - each.fill + 1));
          if (part.some((_, i) => model[each.fill - 1 + i] !== 0n)) continue;
          hashes.setNew(each.fill, BigUint64Array.from(part), xorOf(part));
          for (const [i, value] of part.entries()) model[each.fill - 1 + i] = value;
        }
      }
      assert.equal(hashes.pageCount, model.length);
      using copy = hashes.copy();
      for (const table of [hashes, copy]) {
        assert.deepEqual(
          [...table.pieces()].flatMap((piece) => [...piece]),
          model,
        );
        assert.equal(table.databaseChecksum, xorOf(model) | CHECKSUM_FLAG);
        assert.equal(table.get(model.length + 1), 0n);
      }
      const all = BigUint64Array.from(model);
      assert.ok(hashes.matches(1, all));
      assert.ok(!hashes.matches(2, all) || all.length === 0);
      for (const at of [0, 1023, 1024, model.length - 1]) {
        const other = all.slice(at);
        if (other.length === 0) continue;
        assert.ok(hashes.matches(at + 1, other));
        other[other.length - 1] = (other.at(-1) ?? 0n) ^ 1n;
        assert.ok(!hashes.matches(at + 1, other));
      }
      if (model.length > 0) {
        copy.set(1, 77n);
        assert.equal(hashes.get(1), model[0]);
      }
    }),
    { numRuns: 100 },
  );
});

function xorOf(hashes: readonly bigint[]): bigint {
  return hashes.reduce((xor, each) => xor ^ each, 0n);
}
