import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { expandVariables, VariableError } from '../../src/config/expand-variables.ts';

const variables = { USER: 'ann', EMPTY: '', PATH_2: '/x y', CASH: '$USER' };

// These texts are what users write; they are not template strings.
const braced = (inside: string): string => `\${${inside}}`;

test('references are replaced by what the variables hold', () => {
  const cases: [string, string][] = [
    ['', ''],
    ['plain', 'plain'],
    ['$USER', 'ann'],
    [`app-${braced('USER')}.db`, 'app-ann.db'],
    ['$USER/$PATH_2', 'ann//x y'],
    ['$EMPTY', ''],
    [braced('EMPTY:-x'), 'x'],
    [braced('NONE:-x'), 'x'],
    [braced('NONE:-'), ''],
    [braced('USER:-x'), 'ann'],
    [braced(`NONE:-a${braced('NONE:-$USER')}b`), 'aannb'],
    [braced('USER:?needed'), 'ann'],
    ['$$USER costs $$5', '$USER costs $5'],
    ['$CASH', '$USER'],
    ['$PID', String(process.pid)],
  ];
  for (const [text, expected] of cases) assert.equal(expandVariables(text, variables), expected, text);
});

test('a variable without a value is an error that names it and how to give it one', () => {
  const cases: [string, string, RegExp, RegExp][] = [
    ['a $NONE b', '$NONE', /^variable NONE is not set$/, /set NONE.*\$\{NONE:-default\}/],
    [braced('NONE'), braced('NONE'), /^variable NONE is not set$/, /set NONE/],
    [braced('NONE:?the bucket'), braced('NONE:?the bucket'), /NONE is unset or empty: the bucket$/, /set NONE/],
    [braced('EMPTY:?'), braced('EMPTY:?'), /EMPTY is unset or empty: it must have a value/, /set EMPTY/],
    [braced(`A:-${braced('NONE')}`), braced('NONE'), /NONE is not set/, /set NONE/],
  ];
  for (const [text, reference, message, next] of cases) {
    const error = failure(text);
    assert.equal(error.reference, reference, text);
    assert.match(error.message, message);
    assert.match(error.next, next);
  }
});

test('a dollar sign that starts no reference is an error that says how to write one', () => {
  for (const text of [
    '$',
    '5$',
    '$1',
    '$ x',
    '${',
    '${A',
    braced(''),
    braced('1'),
    braced('A-b'),
    braced('A:+b'),
    braced('A B'),
  ]) {
    assert.match(failure(text).next, /\$\$/, text);
  }
});

test('defaults cannot be nested without end', () => {
  let text = 'x';
  for (let i = 0; i < 1000; i++) text = braced(`NONE:-${text}`);
  assert.match(failure(text).message, /nested/);
});

test('a text whose dollar signs are doubled comes out as it went in', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      assert.equal(
        expandVariables(
          text.replaceAll('$', () => '$$'),
          {},
        ),
        text,
      );
    }),
  );
});

test('any text is expanded or refused with its reference', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'{$}:-?AB_1 ') }), (text) => {
      try {
        expandVariables(text, { A: 'a', B: '' });
      } catch (error) {
        assert.ok(error instanceof VariableError);
        assert.ok(text.includes(error.reference));
      }
    }),
  );
});

function failure(text: string): VariableError {
  try {
    expandVariables(text, variables);
  } catch (error) {
    if (error instanceof VariableError) return error;
    throw error;
  }
  throw new Error(`no error for ${text}`);
}
