import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { editDistance, nearest } from '../../src/config/nearest.ts';

test('a slip of the fingers finds the word that was meant', () => {
  const keys = ['path', 'replica', 'replicas', 'monitor-interval', 'busy-timeout'];
  assert.equal(nearest('busy-timout', keys), 'busy-timeout');
  assert.equal(nearest('Path', keys), 'path');
  assert.equal(nearest('repilca', keys), 'replica');
  assert.equal(nearest('onec', ['exec', 'once']), 'once');
  assert.equal(nearest('monitor_intervall', keys), 'monitor-interval');
});

test('another word finds nothing', () => {
  assert.equal(nearest('colour', ['path', 'replica']), undefined);
  assert.equal(nearest('x', ['o', 'v']), undefined);
  assert.equal(nearest('', ['o']), undefined);
});

test('two neighbours that are swapped are one slip', () => {
  assert.equal(editDistance('onec', 'once'), 1);
  assert.equal(editDistance('abcd', 'badc'), 2);
  assert.equal(editDistance('abc', 'cba'), 2);
});

test('the distance is that of equals only when it is 0, the same both ways, and never more than a letter each', () => {
  const word = fc.string({ maxLength: 12, unit: fc.constantFrom(...'abc') });
  fc.assert(
    fc.property(word, word, (a, b) => {
      assert.equal(editDistance(a, b) === 0, a === b);
      assert.equal(editDistance(a, b), editDistance(b, a));
      assert.ok(editDistance(a, b) <= Math.max(a.length, b.length));
    }),
  );
});
