import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatCount, formatElapsed, formatSize, formatTable, formatTime } from '../../src/cli/format.ts';

test('a table has two spaces between columns and none at the ends of lines', () => {
  const table = formatTable([
    ['level', 'size', 'created'],
    ['0', '53825', 'x'],
    ['größer', '1', ''],
  ]);
  assert.equal(table, 'level   size   created\n0       53825  x\ngrößer  1      \n');
  assert.equal(formatTable([]), '');
});

test('sizes are in steps of 1000, and no step prints as 1000 of the one below', () => {
  const cases: [number, string][] = [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [82_854, '83 kB'],
    [9949, '9.9 kB'],
    [9951, '10 kB'],
    [999_499, '999 kB'],
    [999_500, '1.0 MB'],
    [536_870_912, '537 MB'],
    [1.2e15, '1.2 PB'],
    [9e18, '9000 PB'],
  ];
  for (const [bytes, text] of cases) assert.equal(formatSize(bytes), text);
});

test('times are in UTC, to the second', () => {
  assert.equal(formatTime(Date.UTC(2026, 0, 2, 15, 4, 5, 999)), '2026-01-02T15:04:05Z');
});

test('elapsed times and counts read like speech', () => {
  assert.equal(formatElapsed(35.4), '35ms');
  assert.equal(formatElapsed(1234), '1.2s');
  assert.equal(formatElapsed(59_960), '1m00s');
  assert.equal(formatElapsed(125_000), '2m05s');
  assert.equal(formatCount(1, 'page'), '1 page');
  assert.equal(formatCount(1024, 'page'), '1,024 pages');
});
