import assert from 'node:assert/strict';
import nodeFs, { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterEach, describe, mock, test } from 'node:test';
import fc from 'fast-check';
import { hasCode } from '../../src/base/errors.ts';
import { CHUNK_MEMORY_BYTES, ScratchChunks } from '../../src/base/scratch-chunks.ts';
import { tempFolder } from '../support/temp.ts';

/** So large that few of them fill the memory. */
const CHUNK_BYTES = CHUNK_MEMORY_BYTES / 8;

const chunksIn = (folder: string) => new ScratchChunks(folder, () => new BigUint64Array(CHUNK_BYTES / 8));

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ owner: fc.nat({ max: 1 }), index: fc.nat({ max: 11 }), value: fc.bigInt(1n, 9n) }),
  },
  { weight: 3, arbitrary: fc.record({ owner: fc.nat({ max: 1 }), index: fc.nat({ max: 11 }) }) },
  { weight: 1, arbitrary: fc.record({ owner: fc.nat({ max: 1 }), drop: fc.nat({ max: 11 }) }) },
);

/** Runs steps on two owners and on plain maps; whatever is read must be the same. */
function compareWithMaps(
  folder: string,
  steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[],
): void {
  using first = chunksIn(folder);
  using second = chunksIn(folder);
  const owners = [first, second];
  const models = [new Map<number, bigint>(), new Map<number, bigint>()];
  const check = (owner: number, index: number): void => {
    const values = owners[owner]?.read(index);
    const wanted = models[owner]?.get(index);
    assert.equal(values === undefined, wanted === undefined);
    for (const at of [0, 1000, CHUNK_BYTES / 8 - 1]) assert.equal(values?.[at], wanted && (at === 1000 ? wanted : 0n));
  };
  for (const each of steps) {
    const [owner, model] = [owners[each.owner], models[each.owner]];
    assert.ok(owner && model);
    if ('drop' in each) {
      owner.drop(each.drop);
      for (const index of [...model.keys()]) if (index >= each.drop) model.delete(index);
    } else if ('value' in each) {
      owner.write(each.index)[1000] = each.value;
      model.set(each.index, each.value);
    } else {
      check(each.owner, each.index);
    }
  }
  for (const owner of [0, 1]) for (let index = 0; index < 12; index++) check(owner, index);
  assert.deepEqual(
    first.indexes,
    [...(models[0]?.keys() ?? [])].sort((a, b) => a - b),
  );
}

describe('scratch chunks', () => {
  afterEach(() => {
    mock.restoreAll();
    syncBuiltinESMExports();
  });

  test('keep what was written, whatever is put away in between', (t) => {
    const folder = tempFolder(t);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => compareWithMaps(folder, steps)),
      { numRuns: 40 },
    );
  });

  const skip = existsSync('/proc/self/fd') ? false : 'counts descriptors in /proc';
  test('stay within their memory, and leave neither a file nor a descriptor', { skip }, (t) => {
    const folder = join(tempFolder(t), 'not/there/yet');
    const before = readdirSync('/proc/self/fd').length;
    {
      using chunks = chunksIn(folder);
      for (let index = 0; index < 20; index++) chunks.write(index)[0] = BigInt(index);
      assert.equal(chunks.spilled, 12);
      assert.deepEqual(readdirSync(folder), []);
      for (let index = 0; index < 20; index++) assert.equal(chunks.read(index)?.[0], BigInt(index));
      assert.equal(chunks.spilled, 12);
      using other = chunksIn(folder);
      other.write(0);
      assert.equal(chunks.spilled, 13);
    }
    assert.equal(readdirSync('/proc/self/fd').length, before);
    using later = chunksIn(folder);
    for (let index = 0; index < 8; index++) later.write(index);
    assert.equal(later.spilled, 0);
  });

  test('stay in memory when the scratch file cannot be made', (t) => {
    const folder = join(tempFolder(t), 'file');
    writeFileSync(folder, 'in the way');
    using chunks = chunksIn(folder);
    for (let index = 0; index < 20; index++) chunks.write(index)[7] = BigInt(index);
    for (let index = 0; index < 20; index++) assert.equal(chunks.read(index)?.[7], BigInt(index));
    assert.equal(chunks.spilled, 0);
  });

  test('answer nothing any more once the scratch file cannot be read', (t) => {
    const folder = tempFolder(t);
    using chunks = chunksIn(folder);
    for (let index = 0; index < 20; index++) chunks.write(index)[0] = 1n;
    mock.method(nodeFs, 'readSync', () => {
      throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
    });
    syncBuiltinESMExports();
    const isLost = (error: unknown): boolean => hasCode(error, 'SCRATCH_UNREADABLE');
    assert.throws(() => chunks.read(0), isLost);
    mock.restoreAll();
    syncBuiltinESMExports();
    assert.throws(() => chunks.read(0), isLost);
    assert.throws(() => chunks.write(19), isLost);
    chunks.clear();
    assert.equal(chunks.read(0), undefined);
    assert.ok(existsSync(folder));
  });
});
