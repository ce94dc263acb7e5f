import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MUTATIONS } from './mutations.ts';

/*
 * A few hundred seeds. `npm run simulate -- --seeds 1000` lives through more, and `-- --seed N` tells one step by step.
 */

const SIMULATE = fileURLToPath(new URL('simulate.ts', import.meta.url));
const SEEDS = 240;
const PROCESSES = 2;
/** Seeds that may be needed to find a mistake; most are found by the first ten. */
const SEEDS_FOR_A_MISTAKE = 300;

async function simulate(...args: readonly string[]): Promise<{ status: number | null; output: string }> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', SIMULATE, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { status, output };
}

describe('a machine, an application and a store that do their worst', { concurrency: PROCESSES }, () => {
  for (let part = 0; part < PROCESSES; part++) {
    const first = 1 + (part * SEEDS) / PROCESSES;
    test(`take no commit from the replica: seeds from ${first} on`, async (t) => {
      const { status, output } = await simulate('--first', String(first), '--seeds', String(SEEDS / PROCESSES));
      assert.equal(status, 0, output);
      t.diagnostic(output.trim());
    });
  }
});

describe('the simulation finds a capture that', { concurrency: PROCESSES }, () => {
  for (const mutation of Object.keys(MUTATIONS)) {
    test(mutation, async (t) => {
      const { status, output } = await simulate('--mutation', mutation, '--seeds', String(SEEDS_FOR_A_MISTAKE));
      assert.equal(status, 1, output);
      assert.match(output, /^seed \d+: Broken: /m);
      t.diagnostic(output.trim().split('\n', 1)[0] ?? '');
    });
  }
});
