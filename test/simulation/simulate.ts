// Lives through what a machine, an application and a store can do to a replicator, as seeds decide:
//   npm run simulate -- --seeds 1000          seeds 1 to 1000
//   npm run simulate -- --seed 17             one of them, told step by step
//   npm run simulate -- --mutation NAME       with a mistake in the code, until a seed finds it
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { mutate } from './mutations.ts';

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
if (values.mutation !== undefined) mutate(values.mutation);
// Only now: what they import may have a mistake in it.
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
for (let seed = first; seed < first + count; seed++) {
  const folder = join(root, String(seed));
  machine.asApplication(() => mkdirSync(folder));
  const world = new World(seed, folder, time, machine);
  try {
    await world.run();
  } catch (error) {
    failed++;
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stdout.write(`seed ${seed}: ${why}\n`);
    if (values.seed !== undefined) process.stdout.write(`${world.log.join('\n')}\n`);
  }
  for (const [name, times] of Object.entries(world.counts)) total[name] = (total[name] ?? 0) + times;
  world.abandon();
  // One seed that finds a mistake is enough.
  if (failed > 0 && values.mutation !== undefined) break;
}
machine.asApplication(() => rmSync(root, { recursive: true, force: true }));
process.stdout.write(`${JSON.stringify(total)}\n${failed === 0 ? `all ${count} seeds held` : `${failed} failed`}\n`);
process.exit(failed > 0 ? 1 : 0);
