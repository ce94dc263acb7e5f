import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FILE_LAYOUT, HEX_LAYOUT, SNAPSHOT_LEVEL } from '../../src/replica/layout.ts';
import { Replica } from '../../src/replica/replica.ts';
import type { ObjectInfo, ObjectReader, ReadableStore } from '../../src/store/store.ts';

function storeOf(...keys: string[]): ReadableStore {
  return {
    url: 'memory://replica',
    async *list(prefix: string): AsyncIterable<ObjectInfo> {
      for (const key of keys.filter((k) => k.startsWith(prefix))) yield { key, sizeBytes: 200, modifiedMs: 5 };
    },
    open: (): Promise<ObjectReader> => Promise.reject(new Error('not opened here')),
    close: () => Promise.resolve(),
  };
}

describe('replica listing', () => {
  test('gives files by TXID and skips everything that is not named like one', async () => {
    const replica = new Replica(
      storeOf(
        'ltx/0/0000000000000010-0000000000000010.ltx',
        'ltx/0/0000000000000002-0000000000000003.ltx',
        'ltx/0/0000000000000002-0000000000000002.ltx',
        'ltx/0/0000000000000004-0000000000000004.ltx.tmp',
        'ltx/0/0000000000000005-0000000000000004.ltx',
        'ltx/0/000000000000000A-000000000000000A.ltx',
        'ltx/0/deep/0000000000000006-0000000000000006.ltx',
        'rivulet.json',
      ),
    );
    assert.deepEqual(
      (await replica.list(0)).map((f) => [f.minTxid, f.maxTxid]),
      [
        [2n, 2n],
        [2n, 3n],
        [16n, 16n],
      ],
    );
  });

  test('lists all levels, and knows the newest level 0 file', async () => {
    const replica = new Replica(
      storeOf(
        FILE_LAYOUT.key(0, 4n, 4n),
        FILE_LAYOUT.key(0, 5n, 5n),
        FILE_LAYOUT.key(1, 2n, 9n),
        FILE_LAYOUT.key(SNAPSHOT_LEVEL, 1n, 3n),
      ),
    );
    assert.deepEqual(
      (await replica.listAll()).map((f) => f.level),
      [0, 0, 1, 9],
    );
    assert.equal((await replica.newestL0())?.maxTxid, 5n);
    assert.equal(await new Replica(storeOf()).newestL0(), undefined);
  });

  test('follows the layout of the store: decimal levels under ltx/, or four hex digits', async () => {
    assert.equal(FILE_LAYOUT.key(9, 1n, 255n), 'ltx/9/0000000000000001-00000000000000ff.ltx');
    assert.equal(HEX_LAYOUT.key(9, 1n, 255n), '0009/0000000000000001-00000000000000ff.ltx');
    const replica = new Replica(storeOf('0001/0000000000000001-0000000000000002.ltx'), HEX_LAYOUT);
    assert.equal((await replica.list(1))[0]?.key, '0001/0000000000000001-0000000000000002.ltx');
  });
});
