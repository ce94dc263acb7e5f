import { parentPort, workerData } from 'node:worker_threads';
import type { CheckpointWork } from './checkpoint-elsewhere.ts';
import { checkpointOnce } from './connections.ts';

/* A thread that makes one checkpoint. */

parentPort?.postMessage(checkpointOnce(workerData as CheckpointWork)); // checkpointElsewhere hands it over
