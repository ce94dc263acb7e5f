import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../base/errors.ts';
import { attachKernel } from '../kernel/kernel.ts';
import { type PlaceAssignment, type PlaceJob, runPlaceJob } from './place-job.ts';

/* A placing thread: decodes pages in the memory of another thread and writes them to its file, one job after the other. */

const { kernel, fd }: PlaceAssignment = workerData;
const kernels = attachKernel(kernel);
const port = parentPort;
assert(port, 'a placing thread is started as a worker');
port.on('message', (job: PlaceJob) => port.postMessage(runPlaceJob(kernels, job, fd)));
