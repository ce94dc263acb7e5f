import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitWords } from '../../src/daemon/shell-words.ts';

test('a command is split into words as a shell does it', () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['node server.js', ['node', 'server.js']],
    ['  a \t b\n', ['a', 'b']],
    [`sh -c "echo 'x  y'; exit 3"`, ['sh', '-c', `echo 'x  y'; exit 3`]],
    [`a'b c'd"e f"g`, ['ab cde fg']],
    [`'' ""`, ['', '']],
    ['a\\ b \\"c\\"', ['a b', '"c"']],
    [`"a\\"b\\$c\\d"`, ['a"b$c\\d']],
    [`'a\\b'`, ['a\\b']],
    ['a\\\nb', ['ab']],
    ['$HOME *', ['$HOME', '*']],
    ['', []],
  ];
  for (const [line, words] of cases) assert.deepEqual(splitWords(line), words, line);
});

test('an unclosed quote is an error that shows the command', () => {
  for (const line of [`a "b`, `a 'b`])
    assert.throws(() => splitWords(line), { code: 'EXEC_UNREADABLE', message: /not closed/ });
});
