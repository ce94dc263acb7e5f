import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseSize } from '../../src/config/size.ts';

test('sizes are decimal or binary by their unit', () => {
  const cases: [string, number][] = [
    ['0', 0],
    ['42', 42],
    ['42B', 42],
    ['5MB', 5_000_000],
    ['5MiB', 5 * 2 ** 20],
    ['5mi', 5 * 2 ** 20],
    ['5m', 5_000_000],
    ['1.5 GiB', 1.5 * 2 ** 30],
    ['1,000,000', 1_000_000],
    [' 64 kib ', 65_536],
    ['2TB', 2e12],
    ['.5k', 500],
  ];
  for (const [text, bytes] of cases) assert.equal(parseSize(text), bytes, text);
});

test('what is not a size is not read as one', () => {
  for (const text of ['', 'MB', '.', ',', '-1', '1.2.3', '5 apples', '1e3', '9000PB', '0x10']) {
    assert.equal(parseSize(text), undefined, JSON.stringify(text));
  }
});

test('a number alone is that many bytes', () => {
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => assert.equal(parseSize(String(bytes)), bytes)));
});
