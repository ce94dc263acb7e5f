import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseLtxName } from '../../src/ltx/format.ts';
import { goldenFolder } from '../support/golden.ts';
import { readLtx } from '../support/ltx.ts';

const golden = goldenFolder();

describe('files written by Litestream', { skip: golden ? false : 'SKIPPED: no golden replicas found' }, () => {
  test('every LTX file decodes, and its checksum and page index fit', () => {
    let files = 0;
    for (const name of readdirSync(golden ?? '', { recursive: true, encoding: 'utf8' })) {
      const parsed = parseLtxName(name.split('/').at(-1) ?? '');
      if (!parsed) continue;
      const { header, pages } = readLtx(readFileSync(join(golden ?? '', name)), 1000);
      assert.equal(header.minTxid, parsed.minTxid, name);
      assert.equal(header.maxTxid, parsed.maxTxid, name);
      assert.equal(header.databaseChecksum, 0n, name);
      assert.ok(pages.length > 0, name);
      files++;
    }
    assert.ok(files > 100, `${files} files`);
  });
});
