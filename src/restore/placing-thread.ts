import { Worker } from 'node:worker_threads';
import { RivuletError } from '../base/errors.ts';
import { kernel } from '../kernel/kernel.ts';
import type { PlaceAnswer, PlaceAssignment, PlaceJob } from './place-job.ts';

/** Decodes and writes pages beside this thread, which fetches meanwhile. End it before the file is closed. */
export class PlacingThread {
  readonly #worker: Worker;
  readonly #waiting: PromiseWithResolvers<PlaceAnswer>[] = [];
  #isUp = false;
  #death: unknown;

  constructor(fd: number) {
    const workerData: PlaceAssignment = { kernel: kernel().share(), fd };
    this.#worker = new Worker(new URL('./place-worker.ts', import.meta.url), { workerData });
    this.#worker.unref();
    this.#worker.on('online', () => {
      this.#isUp = true;
    });
    this.#worker.on('message', (answer: PlaceAnswer) => this.#waiting.shift()?.resolve(answer));
    this.#worker.on('error', (error) => this.#died(error));
    this.#worker.on('exit', () => this.#died(new Error('it ended')));
  }

  /** False while it starts: until then work is quicker done by oneself. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Has a job done. Its memory must stay as it is until then. */
  run(job: PlaceJob): Promise<PlaceAnswer> {
    const answer = Promise.withResolvers<PlaceAnswer>();
    if (this.#death !== undefined) {
      answer.reject(this.#death);
    } else {
      this.#waiting.push(answer);
      this.#worker.postMessage(job);
    }
    return answer.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#waiting.map(({ promise }) => promise));
    await this.#worker.terminate();
  }

  #died(cause: unknown): void {
    this.#death ??= new RivuletError({
      code: 'INTERNAL',
      message: 'a thread of the restore ended before its work was done',
      kept: 'nothing was changed',
      cause,
    });
    for (const { reject } of this.#waiting.splice(0)) reject(this.#death);
  }
}
