import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { hasCode } from '../../src/base/errors.ts';
import { txid } from '../../src/base/types.ts';
import { FILE_LAYOUT, type Level, SNAPSHOT_LEVEL } from '../../src/replica/layout.ts';
import { planRestore, restorableTxids } from '../../src/replica/plan.ts';
import type { LtxFileInfo } from '../../src/replica/replica.ts';

function file(level: Level, min: number, max: number, createdMs = 0): LtxFileInfo {
  const key = FILE_LAYOUT.key(level, BigInt(min), BigInt(max));
  return { level, minTxid: txid(min), maxTxid: txid(max), sizeBytes: 1000, createdMs, key };
}

const MAX_TXID = 12;
const anyFile = fc
  .record({
    level: fc.constantFrom<Level>(0, 1, 2, 3, 8, 9),
    min: fc.integer({ min: 1, max: MAX_TXID }),
    span: fc.integer({ min: 0, max: 6 }),
    createdMs: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ level, min, span, createdMs }) => {
    const start = level === SNAPSHOT_LEVEL && min % 4 !== 0 ? 1 : min;
    return file(level, start, Math.min(start + span, MAX_TXID), createdMs);
  });
const anyFiles = fc.array(anyFile, { maxLength: 25, size: 'max' });

/** The TXIDs that some chain of files ends at, found by trying every chain. */
function reachable(files: readonly LtxFileInfo[]): Set<bigint> {
  const found = new Set<bigint>();
  const walk = (reached: bigint): void => {
    for (const next of files) {
      if (next.level === SNAPSHOT_LEVEL && next.minTxid !== 1n) continue;
      if (next.minTxid > reached + 1n || next.maxTxid <= reached || found.has(next.maxTxid)) continue;
      found.add(next.maxTxid);
      walk(next.maxTxid);
    }
  };
  walk(0n);
  // A chain found first from one TXID can block another from passing through it: repeat until nothing is added.
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const reached of [...found]) walk(reached);
  }
  return found;
}

function ascending(ids: Iterable<bigint>): bigint[] {
  return [...ids].sort((a, b) => Number(a - b));
}

/** Litestream's rules, taken literally: look at every file again in each round. */
function literalPlan(files: readonly LtxFileInfo[], target: bigint | undefined): string[] {
  const fits = (f: LtxFileInfo): boolean => target === undefined || f.maxTxid <= target;
  const plan: string[] = [];
  let reached = 0n;
  const snapshots = files.filter((f) => f.level === SNAPSHOT_LEVEL && f.minTxid === 1n && fits(f));
  snapshots.sort((a, b) => Number(b.maxTxid - a.maxTxid));
  if (snapshots[0]) {
    plan.push(snapshots[0].key);
    reached = snapshots[0].maxTxid;
  }
  for (;;) {
    const joining = files.filter(
      (f) => f.level !== SNAPSHOT_LEVEL && fits(f) && f.minTxid <= reached + 1n && f.maxTxid > reached,
    );
    joining.sort(
      (a, b) =>
        Number(b.maxTxid - a.maxTxid) ||
        Number(a.minTxid - b.minTxid) ||
        b.level - a.level ||
        a.createdMs - b.createdMs,
    );
    if (!joining[0]) return plan;
    plan.push(joining[0].key);
    reached = joining[0].maxTxid;
  }
}

describe('restore plan', () => {
  test('is the one that Litestream would choose, for any set of files and any target', () => {
    fc.assert(
      fc.property(anyFiles, fc.option(fc.integer({ min: 1, max: MAX_TXID }), { nil: undefined }), (files, target) => {
        const id = target === undefined ? undefined : BigInt(target);
        let plan: ReturnType<typeof planRestore>;
        try {
          plan = planRestore(files, { txid: id });
        } catch {
          return;
        }
        assert.deepEqual(
          plan.files.map((f) => f.key),
          literalPlan(files, id),
        );
      }),
      { numRuns: 2000 },
    );
  });

  test('starts at TXID 1, joins without a gap, advances with every file and ends at its TXID', () => {
    fc.assert(
      fc.property(anyFiles, fc.option(fc.integer({ min: 1, max: MAX_TXID }), { nil: undefined }), (files, target) => {
        const id = target === undefined ? undefined : BigInt(target);
        let plan: ReturnType<typeof planRestore>;
        try {
          plan = planRestore(files, { txid: id });
        } catch {
          return;
        }
        let reached = 0n;
        for (const next of plan.files) {
          assert.ok(next.minTxid <= reached + 1n && next.maxTxid > reached);
          reached = next.maxTxid;
        }
        assert.equal(plan.files[0]?.minTxid, 1n);
        assert.equal(plan.txid, reached);
        assert.equal(reached, id ?? ascending(reachable(files)).at(-1));
      }),
      { numRuns: 2000 },
    );
  });

  test('exists exactly for the TXIDs that some chain of files ends at', () => {
    fc.assert(
      fc.property(anyFiles, (files) => {
        const wanted = ascending(reachable(files));
        assert.deepEqual(restorableTxids(files), wanted);
        for (let id = 1n; id <= MAX_TXID; id++) {
          const plan = (): unknown => planRestore(files, { txid: id });
          if (wanted.includes(txid(id))) plan();
          else assert.throws(plan, (error) => hasCode(error, 'TXID_NOT_AVAILABLE', 'REPLICA_EMPTY'));
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('to the newest state fails if and only if files are left over beyond a gap', () => {
    fc.assert(
      fc.property(anyFiles, (files) => {
        const usable = files.filter((f) => f.level !== SNAPSHOT_LEVEL || f.minTxid === 1n);
        const best = ascending(reachable(files)).at(-1) ?? 0n;
        const gap = usable.some((f) => f.minTxid > best + 1n) || best === 0n;
        if (!gap) assert.equal(planRestore(files).txid, best);
        else
          assert.throws(
            () => planRestore(files),
            (error) => hasCode(error, 'REPLICA_GAP', 'REPLICA_EMPTY'),
          );
      }),
      { numRuns: 1000 },
    );
  });

  test('uses the newest snapshot and the longest merged files after it', () => {
    const files = [
      file(9, 1, 1),
      file(9, 1, 4),
      file(1, 2, 4),
      file(1, 5, 8),
      file(0, 7, 7),
      file(0, 8, 8),
      file(0, 9, 9),
    ];
    assert.deepEqual(
      planRestore(files).files.map((f) => f.key),
      [
        'ltx/9/0000000000000001-0000000000000004.ltx',
        'ltx/1/0000000000000005-0000000000000008.ltx',
        'ltx/0/0000000000000009-0000000000000009.ltx',
      ],
    );
  });

  test('of an empty replica is the error REPLICA_EMPTY, with or without a target', () => {
    assert.throws(() => planRestore([]), { code: 'REPLICA_EMPTY' });
    assert.throws(() => planRestore([], { txid: 5n }), { code: 'REPLICA_EMPTY' });
  });

  test('to a TXID that is not the end of a file names the nearest ones that are', () => {
    const files = [file(9, 1, 3), file(1, 4, 8), file(0, 9, 9)];
    assert.throws(() => planRestore(files, { txid: 5n }), {
      code: 'TXID_NOT_AVAILABLE',
      next: 'the nearest TXIDs that can be restored: 0000000000000003 (before), 0000000000000008 (after)',
    });
    assert.throws(() => planRestore(files, { txid: 0n }), { code: 'TXID_NOT_AVAILABLE' });
  });

  test('over a gap says which TXIDs are missing and what can still be restored', () => {
    assert.throws(() => planRestore([file(9, 1, 3), file(0, 6, 6)]), {
      code: 'REPLICA_GAP',
      message:
        'the replica has a gap: TXIDs 0000000000000004 to 0000000000000005 are missing before ltx/0/0000000000000006-0000000000000006.ltx',
      next: 'restore what comes before the gap: -txid 0000000000000003',
    });
    assert.throws(() => planRestore([file(0, 2, 2)]), { code: 'REPLICA_GAP' });
  });
});
