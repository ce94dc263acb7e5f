import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { checksum, txid } from '../../src/base/types.ts';
import { imagePageCount } from '../../src/ltx/format.ts';
import { FILE_LAYOUT, type Level } from '../../src/replica/layout.ts';
import { loadLocalState, metaPathFor } from '../../src/replica/local-state.ts';
import { PageHashes } from '../../src/replica/page-hashes.ts';
import { Replica } from '../../src/replica/replica.ts';
import { rebuildPageHashes } from '../../src/restore/rebuild-hashes.ts';
import { type RestoreOptions, type RestoreResult, restoreDatabase } from '../../src/restore/restore.ts';
import { header, makeLtx, type Page } from '../support/ltx.ts';
import { tempFolder } from '../support/temp.ts';
import { databaseChecksum, MemoryStore, pageOf } from './history.ts';

interface State {
  readonly pageSize: number;
  readonly bytes: Buffer;
}

function stateOf(pageSize: number, pages: number, name: string, changed: readonly number[] = []): State {
  const made = Array.from({ length: pages }, (_, i) =>
    pageOf(pageSize, changed.includes(i + 1) ? `${name} ${i}` : `${i}`),
  );
  return { pageSize, bytes: Buffer.concat(made) };
}

/** Its page size changes from TXID 2 to 3, from 4 to 5, and back to the first one. */
const STATES: readonly State[] = [
  stateOf(1024, 20, 'a'),
  stateOf(1024, 22, 'b', [3, 21, 22]),
  stateOf(4096, 7, 'c'),
  stateOf(4096, 9, 'd', [1, 8, 9]),
  stateOf(1024, 12, 'e', [2]),
  stateOf(1024, 14, 'f', [4, 13, 14]),
];

function pagesOf({ bytes, pageSize }: State): Page[] {
  return Array.from({ length: bytes.length / pageSize }, (_, i) => ({
    pgno: i + 1,
    bytes: bytes.subarray(i * pageSize, (i + 1) * pageSize),
  }));
}

function changedPages(before: State | undefined, after: State): Page[] {
  if (before?.pageSize !== after.pageSize) return pagesOf(after);
  const old = pagesOf(before);
  return pagesOf(after).filter((page, i) => Buffer.compare(page.bytes, old[i]?.bytes ?? Buffer.alloc(0)) !== 0);
}

/** The level 0 chain of STATES, with or without our database checksums. */
class Chain {
  readonly store = new MemoryStore();
  readonly withSums: boolean;
  readonly path: string;

  constructor(t: TestContext, withSums: boolean) {
    this.withSums = withSums;
    this.path = join(tempFolder(t), 'data', 'app.db');
    STATES.forEach((state, i) => {
      this.put(0, i + 1, i + 1, changedPages(STATES[i - 1], state));
    });
  }

  put(level: Level, min: number, max: number, pages: readonly Page[]): void {
    const { pageSize, bytes } = this.state(max);
    const databaseSum = this.withSums ? databaseChecksum(bytes, pageSize) : checksum(0n);
    const commit = bytes.length / pageSize;
    const head = header({ pageSize, commit, minTxid: txid(min), maxTxid: txid(max), databaseChecksum: databaseSum });
    this.store.objects.set(FILE_LAYOUT.key(level, BigInt(min), BigInt(max)), makeLtx(head, pages));
  }

  state(id: number): State {
    const state = STATES[id - 1];
    assert.ok(state);
    return state;
  }

  restore(options: Partial<RestoreOptions> = {}): Promise<RestoreResult> {
    return restoreDatabase(new Replica(this.store), { outputPath: this.path, force: true, ...options });
  }
}

for (const withSums of [true, false]) {
  describe(`a page size that changes in the chain (${withSums ? 'our' : "Litestream's"} files)`, () => {
    test('every TXID restores, from the last image on', async (t) => {
      const chain = new Chain(t, withSums);
      for (const windowPages of [1, 5, undefined]) {
        for (let id = 1; id <= STATES.length; id++) {
          const result = await chain.restore({ txid: BigInt(id), windowPages });
          assert.ok(readFileSync(chain.path).equals(chain.state(id).bytes), `TXID ${id}`);
          assert.equal(result.pageSize, chain.state(id).pageSize);
          const from = [1, 1, 3, 3, 5, 5][id - 1] ?? 0;
          assert.deepEqual(
            result.files.map((file) => Number(file.maxTxid)),
            Array.from({ length: id - from + 1 }, (_, i) => from + i),
          );
          const image = loadLocalState(metaPathFor(chain.path))?.position.imageTxid;
          assert.equal(image, from === 1 ? undefined : BigInt(from));
        }
      }
    });

    test('a snapshot of the image, or of a later state, takes the place of everything before it', async (t) => {
      for (const id of [5, 6]) {
        const chain = new Chain(t, withSums);
        chain.put(9, 1, id, pagesOf(chain.state(id)));
        const result = await chain.restore();
        assert.ok(readFileSync(chain.path).equals(chain.state(6).bytes));
        assert.equal(result.files[0]?.level, 9);
        assert.equal(loadLocalState(metaPathFor(chain.path))?.position.imageTxid, undefined);
        assert.equal((await chain.restore({ txid: 4n })).pageSize, 4096);
      }
    });

    test('page hashes are those of the newest state, and tell where its page size began', async (t) => {
      const chain = new Chain(t, withSums);
      for (const snapshot of [false, true]) {
        if (snapshot) chain.put(9, 1, 5, pagesOf(chain.state(5)));
        const rebuilt = await rebuildPageHashes(new Replica(chain.store), { scratchFolder: tempFolder(t) });
        using hashes = rebuilt.hashes;
        assert.ok(hashes instanceof PageHashes);
        assert.equal(hashes.databaseChecksum, databaseChecksum(chain.state(6).bytes, 1024));
        assert.deepEqual([rebuilt.pageSize, rebuilt.imageTxid], [1024, snapshot ? undefined : 5n]);
      }
    });

    test('an image that lacks a page is none: nothing is mixed from two page sizes', async (t) => {
      const chain = new Chain(t, withSums);
      const pages = pagesOf(chain.state(5));
      assert.equal(pages.length, imagePageCount(12, 1024));
      for (const left of [pages.slice(1), pages.toSpliced(5, 1), pages.slice(0, -1)]) {
        chain.put(0, 5, 5, left);
        for (const id of [5n, 6n]) {
          await assert.rejects(chain.restore({ txid: id }), {
            code: 'PAGE_SIZE_MISMATCH',
            message: /0004\.ltx has pages of 4096 bytes and .* of 1024/,
          });
        }
        await assert.rejects(rebuildPageHashes(new Replica(chain.store), { scratchFolder: tempFolder(t) }), {
          code: 'PAGE_SIZE_MISMATCH',
        });
      }
      await chain.restore({ txid: 4n });
      assert.ok(readFileSync(chain.path).equals(chain.state(4).bytes));
    });
  });
}
