import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PageTable } from '../../src/capture/page-table.ts';
import { tempFolder } from '../support/temp.ts';

const page = fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.constantFrom(511, 512, 513, 0xffff_fffe));

test('a page table holds one number for each page, and lists them in order', (t) => {
  const folder = tempFolder(t);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(page, fc.constantFrom(0, 1, 0xffff_fffe))),
      page,
      fc.boolean(),
      (entries, last, clear) => {
        using table = new PageTable(folder);
        table.set(9, 9);
        if (clear) table.clear();
        const model = new Map<number, number>(clear ? [] : [[9, 9]]);
        for (const [pgno, value] of entries) {
          table.set(pgno, value);
          model.set(pgno, value);
        }
        assert.equal(table.size, model.size);
        for (const pgno of [...model.keys(), last, 700]) assert.equal(table.get(pgno), model.get(pgno));
        const wanted = [...model.keys()].filter((pgno) => pgno <= last).sort((a, b) => a - b);
        assert.deepEqual([...table.pgnos(last)], wanted);
      },
    ),
  );
});
