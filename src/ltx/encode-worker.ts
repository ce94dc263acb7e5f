import { parentPort } from 'node:worker_threads';
import { assert } from '../base/errors.ts';
import { attachKernel } from '../kernel/kernel.ts';
import { CONTROL, type EncodeAssignment, SLOT, STATE } from './encode-pool.ts';
import { runEncodeJob } from './page-encoder.ts';

/* An encoding thread: told of one pool, takes ready batches of it until the pool says that it is over, and ends. */

function work({ kernel, control, jobs, table }: EncodeAssignment): void {
  const kernels = attachKernel(kernel);
  const takeOne = (): boolean => {
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
  };
  for (;;) {
    const bell = Atomics.load(control, CONTROL.bell);
    if (Atomics.load(control, CONTROL.quit) === 1) return;
    if (!takeOne()) Atomics.wait(control, CONTROL.bell, bell);
  }
}

const port = parentPort;
assert(port, 'an encoding thread is started as a worker');
port.once('message', (assignment: EncodeAssignment) => {
  work(assignment);
  port.close();
});
