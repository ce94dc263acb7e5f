import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type PrefetchOptions, prefetch } from '../../src/restore/prefetch.ts';

const pieces = Array.from({ length: 20 }, (_, n) => ({ n, length: 100 + n }));

function options(depth: number, signal = new AbortController().signal): PrefetchOptions {
  return { depth, bufferBytes: 200, signal };
}

describe('prefetch', () => {
  test('hands pieces out in order, reads ahead up to its depth, and never past the buffers', async () => {
    let reading = 0;
    let most = 0;
    const order: number[] = [];
    const source = prefetch(pieces, options(4), async ({ n }, target) => {
      most = Math.max(most, ++reading);
      await sleep((n * 7) % 5);
      target.fill(n);
      reading--;
    });
    for await (const { piece, region } of source) {
      await sleep(1);
      const bytes = region.bytes.subarray(0, piece.length);
      assert.ok(bytes.every((byte) => byte === piece.n));
      order.push(piece.n);
    }
    assert.deepEqual(
      order,
      pieces.map(({ n }) => n),
    );
    assert.equal(most, 4);
  });

  test('fails with the error of the read that failed, after all other reads have ended', async () => {
    let reading = 0;
    const source = prefetch(pieces, options(8), async ({ n }, _target, signal) => {
      reading++;
      await sleep(5);
      if (n === 3) throw new Error('read 3 failed');
      while (n > 3 && !signal.aborted) await sleep(1);
      reading--;
    });
    await assert.rejects(
      async () => {
        for await (const _ of source);
      },
      { message: 'read 3 failed' },
    );
    assert.equal(reading, 1, 'only the failed one did not count itself out');
  });

  test('ends its reads when the one who works on the pieces stops early', async () => {
    let reading = 0;
    const source = prefetch(pieces, options(3), async (_piece, _target, signal) => {
      reading++;
      await sleep(1);
      await sleep(20, undefined, { signal }).catch(() => undefined);
      reading--;
    });
    for await (const _ of source) break;
    assert.equal(reading, 0);
  });
});
