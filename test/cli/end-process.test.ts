import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { tempFolder } from '../support/temp.ts';
import { MAIN } from './run-cli.ts';

const END_PROCESS = new URL('../../src/cli/end-process.ts', import.meta.url).href;
/** V8 sleeps for so long in a thread before it compiles there. */
const COMPILES_FOR_MS = 3_600_000;

/** Has V8 begin to compile in a thread, and ends with this statement. */
function endWith(statement: string, timeout: number): { readonly status: number | null; readonly stdout: string } {
  const program = `
    import { endProcess } from '${END_PROCESS}';
    const numbers = Array.from({ length: 1000 }, (_, i) => i);
    function sum() { let sum = 0; for (const number of numbers) sum += number * 3; return sum; }
    for (let i = 0; i < 20_000; i++) sum();
    process.stdout.write('at the end', () => { ${statement} });`;
  return spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', `--concurrent-recompilation-delay=${COMPILES_FOR_MS}`, '-e', program],
    { encoding: 'utf8', timeout, killSignal: 'SIGKILL', env: { ...process.env, RIVULET_LAUNCHER_SHELL: '/bin/sh' } },
  );
}

test('a process ends with its status even while V8 compiles in a thread that never ends', () => {
  for (const status of [0, 3]) {
    const ended = endWith(`endProcess(${status})`, 60_000);
    assert.deepEqual([ended.stdout, ended.status], ['at the end', status]);
  }
});

test("Node's own way does not end then (or this test proves nothing)", () => {
  assert.deepEqual(endWith('process.exit(3)', 3000).status, null);
});

test("what Node compiled is in its cache when a command has ended, and so is its output in the reader's hands", (t) => {
  const cache = tempFolder(t);
  const { status, stdout } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, 'help'], {
    encoding: 'utf8',
    env: { ...process.env, NODE_COMPILE_CACHE: cache },
  });
  assert.equal(status, 0);
  assert.match(stdout, /^ {2}replicate /m);
  const files = readdirSync(cache, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.ok(files.length > 3, `${files.length} files`);
});
