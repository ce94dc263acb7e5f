import { Worker } from 'node:worker_threads';
import type { FileIdentity } from '../base/database-files.ts';

export interface CheckpointResult {
  /** It is not complete: another connection stood in the way, or the disk did. */
  readonly busy: boolean;
  /** Why the disk did not take it. */
  readonly failure?: string;
}

export interface CheckpointWork {
  readonly path: string;
  readonly identity: FileIdentity;
  /** Descriptors of the database and of its WAL, which stay open until the work is done. */
  readonly databaseFd: number;
  readonly walFd: number;
}

/** Makes one checkpoint in a thread of its own, which ends with it: it is one call of SQLite, and takes as long as the disk does. */
export async function checkpointElsewhere(work: CheckpointWork): Promise<CheckpointResult> {
  return new Promise((resolve) => {
    const unmade = (): void => resolve({ busy: true }); // after its message that counts for nothing
    try {
      const worker = new Worker(new URL('./checkpoint-worker.ts', import.meta.url), { workerData: work });
      worker.once('message', (result: CheckpointResult) => resolve(result));
      worker.once('error', unmade);
      worker.once('exit', unmade);
    } catch {
      unmade(); // the system gives no more threads: this one has to do it
    }
  });
}
