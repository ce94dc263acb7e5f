// Lives through what a machine, an application and a store can do to a replicator, as seeds decide:
//   npm run simulate -- --seeds 1000          seeds 1 to 1000
//   npm run simulate -- --seed 17             one of them, told step by step
//   npm run simulate -- --mutation NAME       with a mistake in the code, until a seed finds it
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { forEachLimited } from '../../src/base/async.ts';
import { mutate } from './mutations.ts';

/** What dies in a process leaves memory behind. */
const SEEDS_A_PROCESS = 200;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    first: { type: 'string', default: '1' },
    seed: { type: 'string' },
    mutation: { type: 'string' },
  },
});
const first = Number(values.seed ?? values.first);
const count = values.seed === undefined ? Number(values.seeds) : 1;
if (count > SEEDS_A_PROCESS && values.mutation === undefined) process.exit(await inParts());
mutate(values.mutation);
// Only now: what they import has smaller limits, and may have a mistake in it.
const { Crash, Machine } = await import('./machine.ts');
const { VirtualTime } = await import('./virtual-time.ts');
const { World } = await import('./world.ts');

// In memory where that is possible: SQLite syncs a lot.
const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'rivulet-simulation-'));
const time = new VirtualTime();
time.install();
// What a dead process would have done next.
process.on('unhandledRejection', (error) => {
  if (!(error instanceof Crash)) throw error;
});
const total: Record<string, number> = {};
let failed = 0;
const machine = new Machine();
// What a process does for the first time (loading the kernels) takes steps of its own: that is left to a world which does not count.
for (const seed of [0, ...Array.from({ length: count }, (_, i) => first + i)]) {
  const folder = join(root, String(seed));
  machine.asApplication(() => mkdirSync(folder));
  const world = new World(seed, folder, time, machine);
  try {
    await world.run();
  } catch (error) {
    if (seed > 0) failed++;
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (seed > 0) process.stdout.write(`seed ${seed}: ${why}\n`);
    if (values.seed !== undefined && seed > 0) process.stdout.write(`${world.log.join('\n')}\n`);
  }
  for (const [name, times] of Object.entries(world.counts)) total[name] = (total[name] ?? 0) + times;
  world.abandon();
  // One seed that finds a mistake is enough.
  if (failed > 0 && values.mutation !== undefined) break;
}
Object.assign(total, machine.counts);
machine.asApplication(() => rmSync(root, { recursive: true, force: true }));
process.stdout.write(`${JSON.stringify(total)}\n${failed === 0 ? `all ${count} seeds held` : `${failed} failed`}\n`);
process.exit(failed > 0 ? 1 : 0);

/** The same in several processes, as many at a time as there are processors. The result is the exit status. */
async function inParts(): Promise<number> {
  let status = 0;
  const parts = Array.from({ length: Math.ceil(count / SEEDS_A_PROCESS) }, (_, i) => first + i * SEEDS_A_PROCESS);
  await forEachLimited(parts, availableParallelism(), async (from) => {
    const seeds = Math.min(SEEDS_A_PROCESS, first + count - from);
    const args = [...process.execArgv, process.argv[1] ?? '', '--first', String(from), '--seeds', String(seeds)];
    const child = spawn(process.execPath, args, { stdio: 'inherit' });
    const [ended] = await once(child, 'close');
    if (ended !== 0) status = 1;
  });
  return status;
}
