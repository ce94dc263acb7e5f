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
/** What must happen in each part, or it proves less than it seems to. */
const MUST_HAPPEN = [
  'application acts between two steps',
  'application restarts the WAL while nobody looks',
  'application changes the page size',
  'application works with a rollback journal while nobody looks',
  'a transaction across two files, attached to another',
  'the WAL is larger than the database',
  'incremental_vacuum shrinks the database',
  'database is replaced between two steps',
  'replicator died',
  'power is lost',
  'power loss takes frames that were captured',
  'suspended for want of room',
  'files are given up',
  'disk fails checkpoints',
  'a checkpoint meets another',
  'the WAL is synced',
  'barrier is up beside a busy application',
  'a start goes on in the WAL',
  'a sync fails',
  'WAL is kept while the store is away',
];
/** Only there to end one that would hang. */
const LIMIT_MS = 15 * 60_000;
/** Seeds that may be needed to find a mistake; most are found by the first ten. */
const SEEDS_FOR_A_MISTAKE = 450;

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
    test(`take no commit from the replica: seeds from ${first} on`, { timeout: LIMIT_MS }, async (t) => {
      const { status, output } = await simulate('--first', String(first), '--seeds', String(SEEDS / PROCESSES));
      assert.equal(status, 0, output);
      t.diagnostic(output.trim());
      const counts: Record<string, number> = JSON.parse(/^\{.*\}$/m.exec(output)?.[0] ?? '{}');
      assert.deepEqual(
        MUST_HAPPEN.filter((what) => !counts[what]),
        [],
      );
    });
  }
});

describe('the simulation finds a capture that', { concurrency: PROCESSES }, () => {
  for (const mutation of Object.keys(MUTATIONS)) {
    test(mutation, { timeout: LIMIT_MS }, async (t) => {
      const { status, output } = await simulate('--mutation', mutation, '--seeds', String(SEEDS_FOR_A_MISTAKE));
      assert.equal(status, 1, output);
      assert.match(output, /^seed \d+: Broken: /m);
      t.diagnostic(output.trim().split('\n', 1)[0] ?? '');
    });
  }
});
