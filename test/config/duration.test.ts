import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatDuration, parseDuration } from '../../src/config/duration.ts';

test('durations are read as Go reads them', () => {
  const cases: [string, number | undefined][] = [
    ['0', 0],
    ['0s', 0],
    ['1s', 1000],
    ['500ms', 500],
    ['1m30s', 90_000],
    ['1.5h', 5_400_000],
    ['.5s', 500],
    ['1.s', 1000],
    ['+5s', 5000],
    ['-2s', -2000],
    ['-0', 0],
    ['250us', 0.25],
    ['250µs', 0.25],
    ['250μs', 0.25],
    ['1ns', 0.000001],
    ['24h', 86_400_000],
    ['1h1m1s1ms', 3_661_001],
    ['1s1s', 2000],
    ['2562047h47m16s', 9_223_372_036_000],
  ];
  for (const [text, ms] of cases) assert.equal(parseDuration(text), ms, text);
});

test('what is not a duration is not read as one', () => {
  const wrong = [
    '',
    '1',
    '-',
    '+',
    's',
    '.s',
    '1 s',
    '1d',
    '1S',
    's1',
    '1s ',
    '--1s',
    '1e3s',
    '3000000h',
    'Infinity',
    '1m-1s',
  ];
  for (const text of wrong) assert.equal(parseDuration(text), undefined, JSON.stringify(text));
});

test('durations are written as Go writes them', () => {
  const cases: [number, string][] = [
    [0, '0s'],
    [-0, '0s'],
    [1, '1ms'],
    [1.5, '1.5ms'],
    [0.25, '250µs'],
    [0.000001, '1ns'],
    [1000, '1s'],
    [1500, '1.5s'],
    [90_000, '1m30s'],
    [60_000, '1m0s'],
    [3_600_000, '1h0m0s'],
    [86_400_000, '24h0m0s'],
    [-1000, '-1s'],
  ];
  for (const [ms, text] of cases) assert.equal(formatDuration(ms), text);
});

test('a duration that was written reads back as itself', () => {
  fc.assert(
    fc.property(fc.integer({ min: -(10 ** 12), max: 10 ** 12 }), (us) => {
      assert.equal(parseDuration(formatDuration(us / 1000)), us / 1000);
    }),
  );
});

test('no text makes the reader fail or loop', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'0123456789.+-nuµmsh ') }), (text) => {
      const ms = parseDuration(text);
      assert.ok(ms === undefined || Number.isFinite(ms));
    }),
  );
});
