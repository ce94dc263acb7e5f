import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { RivuletError } from '../../src/base/errors.ts';
import { loadLocalState, metaPathFor } from '../../src/replica/local-state.ts';
import { restorableTxids } from '../../src/replica/plan.ts';
import { Replica } from '../../src/replica/replica.ts';
import { restoreDatabase } from '../../src/restore/restore.ts';
import { databaseChecksum, History, MemoryStore, pageOf } from './history.ts';

const MAX_PAGES = 40;

/** One transaction: the size afterwards, and pages that it writes. */
const transaction = fc.record({
  pages: fc.integer({ min: 0, max: MAX_PAGES }),
  written: fc.array(fc.integer({ min: 1, max: MAX_PAGES }), { maxLength: 8 }),
});

const anyHistory = fc
  .record({
    pageSize: fc.constantFrom(512, 4096, 65_536),
    first: fc.integer({ min: 1, max: MAX_PAGES }),
    later: fc.array(transaction, { maxLength: 9 }),
    withSums: fc.boolean(),
    encoding: fc.constantFrom('block' as const, 'frame' as const),
  })
  .map(({ pageSize, first, later, withSums, encoding }) => {
    let pages = Array.from({ length: first }, (_, i) => pageOf(pageSize, `1/${i}`));
    const states = [Buffer.concat(pages)];
    later.forEach((change, t) => {
      pages = Array.from({ length: change.pages }, (_, i) => pages[i] ?? pageOf(pageSize, `${t}/${i}`));
      for (const pgno of change.written) if (pgno <= pages.length) pages[pgno - 1] = pageOf(pageSize, `${t}/${pgno}w`);
      states.push(Buffer.concat(pages));
    });
    return new History(pageSize, states, { withSums, encoding });
  });

/** Files beside the level 0 ones: level and ends, as parts of the history's length. */
const anyMerges = fc.array(
  fc.record({ level: fc.constantFrom(1 as const, 2 as const, 9 as const), from: fc.nat(), length: fc.nat() }),
  { maxLength: 6 },
);

function replicaOf(history: History, merges: { level: 1 | 2 | 9; from: number; length: number }[]): MemoryStore {
  const store = new MemoryStore();
  const last = history.states.length;
  for (let id = 1; id <= last; id++) store.addFile(history, 0, id, id);
  for (const { level, from, length } of merges) {
    const min = level === 9 ? 1 : 1 + (from % last);
    store.addFile(history, level, min, min + (length % (last - min + 1)));
  }
  return store;
}

describe('restoring a replica', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rivulet-restore-'));
  after(() => rmSync(folder, { recursive: true }));
  let count = 0;

  test('gives back every restorable state exactly, whatever files it must be made from', async () => {
    await fc.assert(
      fc.asyncProperty(anyHistory, anyMerges, fc.array(fc.nat()), fc.nat(), async (history, merges, lost, pick) => {
        const store = replicaOf(history, merges);
        // Retention: some files are gone, and with them some states.
        for (const n of lost) {
          const keys = [...store.objects.keys()];
          store.objects.delete(keys[n % Math.max(keys.length, 1)] ?? '');
        }
        const replica = new Replica(store);
        const ids = restorableTxids(await replica.listAll());
        const id = ids[pick % Math.max(ids.length, 1)];
        if (id === undefined) return;
        const outputPath = join(folder, `${count++}.db`);
        const options = { outputPath, txid: id, parallelism: 1 + (pick % 4), windowPages: 1 + (pick % 50) };
        const result = await restoreDatabase(replica, options);
        assert.ok(readFileSync(outputPath).equals(history.state(id)));
        assert.equal(result.txid, id);
        assert.equal(result.pageCount * result.pageSize, history.state(id).length);
        assert.equal(result.fetchedBytes, store.bytesRead);

        const state = loadLocalState(metaPathFor(outputPath));
        assert.equal(state?.position.txid, id);
        assert.equal(state.hashes.databaseChecksum, databaseChecksum(history.state(id), history.pageSize));
      }),
      { numRuns: 150 },
    );
  });

  test('from damaged files never gives a wrong database, and never leaves anything behind', async () => {
    const damage = fc.record({
      file: fc.nat(),
      at: fc.nat(),
      cut: fc.boolean(),
      flip: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(anyHistory, anyMerges, damage, async (history, merges, { file, at, cut, flip }) => {
        const store = replicaOf(history, merges);
        const keys = [...store.objects.keys()];
        const key = keys[file % keys.length] ?? '';
        const bytes = Buffer.from(store.objects.get(key) ?? '');
        if (!cut) bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ flip;
        store.objects.set(key, cut ? bytes.subarray(0, at % bytes.length) : bytes);

        const place = join(folder, `damaged-${count++}`);
        const outputPath = join(place, 'app.db');
        try {
          const result = await restoreDatabase(new Replica(store), { outputPath });
          assert.ok(readFileSync(outputPath).equals(history.state(history.states.length)));
          const isProvenByFiles = result.proof === 'file-checksums' && result.files.some((f) => f.key === key);
          assert.equal(isProvenByFiles, false, 'a file proof covers every byte');
        } catch (error) {
          assert.ok(error instanceof RivuletError, String(error));
          assert.equal(error.code, 'REPLICA_FILE_DAMAGED', error.message);
          assert.ok(error.message.includes(key), error.message);
          assert.equal(error.kept, 'nothing was changed');
          assert.ok(!existsSync(place) || readdirSync(place).length === 0);
        }
      }),
      { numRuns: 300 },
    );
  });
});
