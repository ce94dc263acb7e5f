import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { editDistance, nearest } from '../../src/config/nearest.ts';

test('a slip of the fingers finds the word that was meant', () => {
  const keys = ['path', 'replica', 'replicas', 'monitor-interval', 'busy-timeout'];
  assert.equal(nearest('busy-timout', keys), 'busy-timeout');
  assert.equal(nearest('Path', keys), 'path');
  assert.equal(nearest('repilca', keys), 'replica');
  assert.equal(nearest('monitor_intervall', keys), 'monitor-interval');
});

test('another word finds nothing', () => {
  assert.equal(nearest('colour', ['path', 'replica']), undefined);
  assert.equal(nearest('x', ['o', 'v']), undefined);
  assert.equal(nearest('', ['o']), undefined);
});

test('the distance is a metric', () => {
  const word = fc.string({ maxLength: 12, unit: fc.constantFrom(...'abc') });
  fc.assert(
    fc.property(word, word, word, (a, b, c) => {
      assert.equal(editDistance(a, a), 0);
      assert.equal(editDistance(a, b), editDistance(b, a));
      assert.ok(editDistance(a, c) <= editDistance(a, b) + editDistance(b, c));
      assert.ok(editDistance(a, b) <= Math.max(a.length, b.length));
    }),
  );
});
