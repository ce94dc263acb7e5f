import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { assert as invariant, RivuletError } from '../../src/base/errors.ts';
import { describeError } from '../../src/cli/describe-error.ts';

test('an error for the user is its sentences, without a stack', () => {
  const error = new RivuletError({ code: 'X', message: 'it broke', kept: 'your data', next: 'mend it' });
  assert.equal(describeError(error), 'Error: it broke\nKept: your data\nTry: mend it\n');
  assert.equal(describeError(new RivuletError({ code: 'X', message: 'it broke' })), 'Error: it broke\n');
});

test("the operating system's refusals are not called defects", () => {
  assert.throws(
    () => readFileSync('/nonexistent/x'),
    (error) => describeError(error) === "Error: ENOENT: no such file or directory, open '/nonexistent/x'\n",
  );
});

test('anything else is called a defect of Rivulet, with its stack only on request', () => {
  const error = new TypeError('undefined is not a function', { cause: new Error('deeper') });
  const text = describeError(error, false);
  assert.match(text, /^Error: undefined is not a function\nThis is a defect in Rivulet.*\nTry: .*RIVULET_DEBUG=1/);
  assert.ok(!text.includes('    at '));
  assert.match(describeError(error, true), /TypeError: undefined is not a function\n {4}at .*Cause: Error: deeper/s);
  assert.match(describeError('thrown', false), /^Error: thrown\nThis is a defect/);
});

test('a broken invariant is a defect', () => {
  assert.throws(
    () => invariant(false, 'one is two'),
    (error) => /one is two\nThis is a defect in Rivulet/.test(describeError(error)),
  );
});
