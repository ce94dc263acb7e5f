import { workerData } from 'node:worker_threads';
import { attachKernel, type SharedKernel } from '../kernel/kernel.ts';
import { CONTROL, SLOT, STATE } from './encode-pool.ts';
import { type EncodeJob, runEncodeJob } from './page-encoder.ts';

/* An encoding thread: takes ready batches of the pool that started it until it is told to quit. */

interface Assignment {
  readonly kernel: SharedKernel;
  readonly control: Int32Array;
  readonly jobs: readonly EncodeJob[];
  readonly table: number;
}

const { kernel, control, jobs, table } = workerData as Assignment; // EncodePool hands it over
const kernels = attachKernel(kernel);

function takeOne(): boolean {
  for (const [i, job] of jobs.entries()) {
    const at = CONTROL.slots + i * CONTROL.wordsPerSlot;
    const before = Atomics.compareExchange(control, at + SLOT.state, STATE.ready, STATE.taken);
    if (before !== STATE.ready) continue;
    control[at + SLOT.bytes] = runEncodeJob(kernels, job, control[at + SLOT.count] ?? 0, table);
    Atomics.store(control, at + SLOT.state, STATE.done);
    Atomics.notify(control, at + SLOT.state);
    return true;
  }
  return false;
}

for (;;) {
  const bell = Atomics.load(control, CONTROL.bell);
  if (Atomics.load(control, CONTROL.quit) === 1) break;
  if (!takeOne()) Atomics.wait(control, CONTROL.bell, bell);
}
