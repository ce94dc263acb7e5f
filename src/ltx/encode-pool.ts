import { Worker } from 'node:worker_threads';
import { assert } from '../base/errors.ts';
import { kernel, type Region, type SharedKernel } from '../kernel/kernel.ts';
import type { PageBatch } from './page-batch.ts';
import {
  type EncodedPages,
  type EncodeJob,
  EncodeSlot,
  encodeTable,
  type PageEncoding,
  runEncodeJob,
} from './page-encoder.ts';

/** Batches on their way at a time: each thread has one at work and one waiting, and the owner fills another. */
const SLOTS_PER_THREAD = 2;
/** A batch takes milliseconds: after this long its thread is dead. */
const THREAD_DEAD_MS = 30_000;

/** Words of the control block: {bell, quit}, then {state, count, bytes} for each slot. */
export const CONTROL = { bell: 0, quit: 1, slots: 2, wordsPerSlot: 3 } as const;
export const SLOT = { state: 0, count: 1, bytes: 2 } as const;
/** A slot's states: only the owner fills and empties, whoever turns READY into TAKEN encodes. */
export const STATE = { free: 0, ready: 1, taken: 2, done: 3 } as const;

/**
 * Encodes batches of pages, in order, on this thread and on others that share its kernel memory. Fill `batch()`, `submit`
 * it, and `take` results; with no other threads everything happens in `take`.
 */
export class EncodePool {
  readonly #slots: EncodeSlot[];
  readonly #control: Int32Array;
  readonly #controlRegion: Region;
  readonly #table: Region;
  readonly #tables: Region[] = [];
  readonly #workers: Worker[] = [];
  #submitted = 0;
  #taken = 0;

  /** `threads`: beside this one. */
  constructor(pageSize: number, encoding: PageEncoding, threads: number) {
    const count = threads === 0 ? 1 : (threads + 1) * SLOTS_PER_THREAD;
    this.#slots = Array.from({ length: count }, () => new EncodeSlot(pageSize, encoding));
    this.#controlRegion = kernel().allocate((CONTROL.slots + count * CONTROL.wordsPerSlot) * 4);
    const { bytes, pointer, byteLength } = this.#controlRegion;
    this.#control = new Int32Array(bytes.buffer, pointer, byteLength >>> 2).fill(0);
    this.#table = encodeTable();
    for (let i = 0; i < threads; i++) this.#workers.push(this.#start());
  }

  /** A batch to fill and {@link submit}; undefined while all are on their way: {@link take} one first. */
  batch(): PageBatch | undefined {
    return this.#submitted - this.#taken < this.#slots.length ? this.#slotAt(this.#submitted).batch : undefined;
  }

  /** Has the first `count` pages of the batch encoded; their hashes are there once they are taken. */
  submit(count: number): void {
    assert(this.batch(), 'a batch is submitted once');
    this.#slotAt(this.#submitted).reset();
    const at = this.#stateAt(this.#submitted);
    this.#control[at + SLOT.count] = count;
    Atomics.store(this.#control, at + SLOT.state, STATE.ready);
    Atomics.add(this.#control, CONTROL.bell, 1);
    Atomics.notify(this.#control, CONTROL.bell, 1);
    this.#submitted++;
  }

  /** True when {@link take} has a result at once. */
  get hasResult(): boolean {
    return (
      this.#taken < this.#submitted &&
      Atomics.load(this.#control, this.#stateAt(this.#taken) + SLOT.state) === STATE.done
    );
  }

  /** The oldest submitted batch, encoded; valid until the next `batch`. Undefined when none is on its way. */
  take(): EncodedPages | undefined {
    if (this.#taken === this.#submitted) return undefined;
    const at = this.#stateAt(this.#taken);
    while (Atomics.load(this.#control, at + SLOT.state) !== STATE.done) {
      if (this.#help()) continue;
      const woken = Atomics.wait(this.#control, at + SLOT.state, STATE.taken, THREAD_DEAD_MS);
      assert(woken !== 'timed-out', 'an encoding thread does its work');
    }
    const slot = this.#slotAt(this.#taken);
    const result = slot.result(this.#control[at + SLOT.count] ?? 0, this.#control[at + SLOT.bytes] ?? 0);
    this.#control[at + SLOT.state] = STATE.free;
    this.#taken++;
    return result;
  }

  /** Ends the threads; what was not taken is dropped. */
  [Symbol.dispose](): void {
    // Whatever a thread has in its hands must be let go of before the memory is given back.
    while (this.#taken < this.#submitted) this.take();
    Atomics.store(this.#control, CONTROL.quit, 1);
    Atomics.add(this.#control, CONTROL.bell, 1);
    Atomics.notify(this.#control, CONTROL.bell);
    for (const slot of this.#slots) slot[Symbol.dispose]();
    this.#table[Symbol.dispose]();
    // A thread may still look at the control block and its table once: that memory is given back when it has ended.
    const last = [this.#controlRegion, ...this.#tables];
    const giveBack = (): void => {
      for (const region of last) region[Symbol.dispose]();
    };
    let running = this.#workers.length;
    if (running === 0) giveBack();
    for (const worker of this.#workers) {
      worker.once('exit', () => {
        if (--running === 0) giveBack();
      });
    }
  }

  /** Encodes the oldest batch that no thread has taken yet; false when there is none. */
  #help(): boolean {
    for (let number = this.#taken; number < this.#submitted; number++) {
      const at = this.#stateAt(number);
      const before = Atomics.compareExchange(this.#control, at + SLOT.state, STATE.ready, STATE.taken);
      if (before !== STATE.ready) continue;
      const count = this.#control[at + SLOT.count] ?? 0;
      const { job } = this.#slotAt(number);
      this.#control[at + SLOT.bytes] = runEncodeJob(kernel(), job, count, this.#table.pointer);
      Atomics.store(this.#control, at + SLOT.state, STATE.done);
      return true;
    }
    return false;
  }

  #slotAt(number: number): EncodeSlot {
    const slot = this.#slots[number % this.#slots.length];
    assert(slot, 'a pool has slots');
    return slot;
  }

  #stateAt(number: number): number {
    return CONTROL.slots + (number % this.#slots.length) * CONTROL.wordsPerSlot;
  }

  #start(): Worker {
    const table = encodeTable();
    this.#tables.push(table);
    const worker = takeThread();
    worker.postMessage({
      kernel: kernel().share(),
      control: this.#control,
      jobs: this.#slots.map((slot) => slot.job),
      table: table.pointer,
    } satisfies EncodeAssignment);
    return worker;
  }
}

/** What an encoding thread is told to work on. */
export interface EncodeAssignment {
  readonly kernel: SharedKernel;
  readonly control: Int32Array;
  readonly jobs: readonly EncodeJob[];
  readonly table: number;
}

let spare: Worker | undefined;

/** Starts a thread that the next pool of this thread will find running: it takes longer to start than to be told what to do. */
export function startSpareThread(): void {
  spare ??= startThread();
}

/** Ends the spare thread, if no pool took it. Threads are not kept for later. */
export function endSpareThread(): void {
  void spare?.terminate();
  spare = undefined;
}

function takeThread(): Worker {
  const thread = spare ?? startThread();
  spare = undefined;
  return thread;
}

function startThread(): Worker {
  const worker = new Worker(new URL('./encode-worker.ts', import.meta.url));
  worker.on('error', () => undefined); // its work is missed by take()
  worker.unref();
  return worker;
}
