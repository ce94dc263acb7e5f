import { Worker } from 'node:worker_threads';
import type { FileIdentity } from '../base/database-files.ts';
import { messageOf } from '../base/errors.ts';

export interface CheckpointResult {
  /** It is not complete: another connection stood in the way, or the disk did. */
  readonly busy: boolean;
  /** Why the disk did not take it. */
  readonly failure?: string;
}

export interface CheckpointWork {
  readonly path: string;
  readonly identity: FileIdentity;
  /** A descriptor of the database, which stays open until the work is done. */
  readonly databaseFd: number;
}

/** Makes one checkpoint in a thread of its own, which ends with it: it is one call of SQLite, and takes as long as the disk does. */
export async function checkpointElsewhere(work: CheckpointWork): Promise<CheckpointResult> {
  const worker = new Worker(new URL('./checkpoint-worker.ts', import.meta.url), { workerData: work });
  return new Promise((resolve) => {
    worker.once('message', (result: CheckpointResult) => resolve(result));
    worker.once('error', (error: unknown) => resolve({ busy: true, failure: messageOf(error) }));
    worker.once('exit', () => resolve({ busy: true })); // after its message that counts for nothing
  });
}
