import assert from 'node:assert/strict';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { checksum, txid } from '../../src/base/types.ts';
import { type LocalPosition, loadLocalState, StateJournal, saveRestoredState } from '../../src/replica/local-state.ts';
import { PageHashes } from '../../src/replica/page-hashes.ts';
import { tempFolder } from '../support/temp.ts';

function positionAt(id: number, pageCount: number): LocalPosition {
  return {
    replicaUrl: 'file:///replica',
    lineage: 'abc',
    txid: txid(id),
    fileChecksum: checksum((1n << 63n) | BigInt(id)),
    pageSize: 4096,
    pageCount,
    imageTxid: id > 2 ? txid(2) : undefined,
    wal: { salts: '0102030405060708', frames: id, sums: { first: id, second: id }, file: '1-2' },
  };
}

function hashesOf(hashes: PageHashes | undefined): bigint[] {
  return [...(hashes?.pieces() ?? [])].flatMap((piece) => [...piece]);
}

interface Step {
  readonly pageCount: number;
  readonly changes: readonly number[];
}

const steps = fc.array(
  fc.record({
    pageCount: fc.integer({ min: 1, max: 50 }),
    changes: fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 8 }),
  }),
  { minLength: 1, maxLength: 12 },
);

/** Runs the steps through a journal; returns every state that was recorded, by TXID. */
function record(folder: string, script: readonly Step[]): Map<bigint, bigint[]> {
  const journal = new StateJournal(folder);
  const hashes = new PageHashes(folder);
  const states = new Map<bigint, bigint[]>();
  script.forEach((step, i) => {
    const pgnos = Uint32Array.from(new Set(step.changes.filter((pgno) => pgno <= step.pageCount))).sort();
    const changes = { pgnos, hashes: BigUint64Array.from(pgnos, (pgno) => BigInt(pgno * 1000 + i)) };
    const expected = hashes.checksumAfter(step.pageCount, changes);
    hashes.apply(step.pageCount, changes);
    assert.equal(hashes.databaseChecksum, expected);
    journal.append(positionAt(i + 1, step.pageCount), changes, hashes);
    states.set(BigInt(i + 1), hashesOf(hashes));
  });
  journal.close();
  return states;
}

describe('the local state', () => {
  test('comes back as it was recorded', (t) => {
    fc.assert(
      fc.property(steps, (script) => {
        const folder = tempFolder(t);
        const states = record(folder, script);
        const loaded = loadLocalState(folder);
        assert.deepEqual(loaded?.position, positionAt(script.length, script.at(-1)?.pageCount ?? 0));
        assert.deepEqual(hashesOf(loaded?.hashes), states.get(BigInt(script.length)));
      }),
      { numRuns: 40 },
    );
  });

  test('after a cut or damaged journal it is an earlier state, whole', (t) => {
    fc.assert(
      fc.property(steps, fc.nat(), fc.boolean(), (script, where, cut) => {
        const folder = tempFolder(t);
        const states = record(folder, script);
        if (script.length === 1) return;
        const path = join(folder, 'journal');
        const bytes = readFileSync(path);
        const at = where % bytes.length;
        if (cut) truncateSync(path, at);
        else {
          bytes[at] = (bytes[at] ?? 0) ^ 0x10;
          writeFileSync(path, bytes);
        }
        const loaded = loadLocalState(folder);
        assert.ok(loaded);
        assert.ok(loaded.position.txid < BigInt(script.length));
        assert.deepEqual(hashesOf(loaded.hashes), states.get(loaded.position.txid));
      }),
      { numRuns: 60 },
    );
  });

  test('a damaged state file is no state', (t) => {
    const folder = tempFolder(t);
    record(folder, [{ pageCount: 3, changes: [1, 2, 3] }]);
    const path = join(folder, 'state');
    const whole = readFileSync(path);
    for (let at = 0; at < whole.length; at++) {
      const bad = Buffer.from(whole);
      bad[at] = (bad[at] ?? 0) ^ 1;
      writeFileSync(path, bad);
      assert.equal(loadLocalState(folder), undefined, `byte ${at}`);
    }
    assert.equal(loadLocalState(join(folder, 'nowhere')), undefined);
  });

  test('what a restore leaves is never mixed with the journal of an earlier life', (t) => {
    const folder = tempFolder(t);
    record(
      folder,
      Array.from({ length: 9 }, () => ({ pageCount: 4, changes: [1, 2] })),
    );
    const hashes = new PageHashes(folder, 2);
    hashes.set(1, 5n);
    hashes.set(2, 6n);
    saveRestoredState(folder, { ...positionAt(4, 2), wal: undefined }, hashes);
    const loaded = loadLocalState(folder);
    assert.equal(loaded?.position.txid, 4n);
    assert.equal(loaded?.position.wal, undefined);
    assert.deepEqual(hashesOf(loaded?.hashes), [5n, 6n]);
  });
});
