import { availableParallelism } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { joinRegister } from '../base/database-files.ts';
import { assert } from '../base/errors.ts';
import type { LogFields, Logger, LogLevel } from '../base/log.ts';
import { endSpareThread, startSpareThread } from '../ltx/encode-pool.ts';
import { Caretaker } from './caretaker.ts';
import { DatabaseCapture, type SharedThread } from './database-capture.ts';
import { asDatabaseError } from './database-error.ts';
import { CaptureGauges } from './gauges.ts';
import { type Report, type Request, sendError, sendState } from './messages.ts';
import type { CaptureListener } from './options.ts';

/* The capture thread: waiting for locks of a database blocks it, so nothing else runs here. */

const port = parentPort;
assert(port, 'the capture thread is started as a worker');
const { register, expectsImage } = workerData as { register: ArrayBufferLike; expectsImage: boolean }; // CaptureThread hands it over
joinRegister(register);
if (expectsImage && availableParallelism() > 1) startSpareThread();

const captures = new Map<number, DatabaseCapture>();
const caretakers = new Map<number, Caretaker>();
const thread: SharedThread = { disks: new Map(), hasOthers: () => captures.size > 1 };
const report = (message: Report): void => port.postMessage(message);

function loggerOf(id: number, base: LogFields = {}): Logger {
  return {
    log: (level: LogLevel, message: string, fields?: LogFields) =>
      report({ kind: 'log', id, level, message, fields: { ...base, ...fields } }),
    with: (fields: LogFields) => loggerOf(id, { ...base, ...fields }),
  };
}

function listenerOf(id: number): CaptureListener {
  return {
    state: (state) => report({ kind: 'state', id, state: sendState(state) }),
    spooled: (file) => {
      endSpareThread(); // an image would have taken it
      report({ kind: 'spooled', id, file });
    },
    progress: (doneBytes, totalBytes) => report({ kind: 'progress', id, doneBytes, totalBytes }),
    starved: () => report({ kind: 'starved', id }),
    gaveUp: () => report({ kind: 'gave-up', id }),
  };
}

function open(request: Extract<Request, { kind: 'open' }>): void {
  const { id, settings, start } = request;
  const listener = listenerOf(id);
  let capture: DatabaseCapture;
  try {
    capture = new DatabaseCapture(settings, start, listener, loggerOf(id), new CaptureGauges(request.gauges), thread);
  } catch (cause) {
    const error = asDatabaseError(cause, settings);
    listener.state({ kind: 'failed', error });
    report({ kind: 'stopped', id, error: sendError(error) });
    return;
  }
  captures.set(id, capture);
  reportEnd(id, capture.run());
}

function keep({ id, settings, gauges }: Extract<Request, { kind: 'keep' }>): void {
  const caretaker = new Caretaker(settings, loggerOf(id), new CaptureGauges(gauges));
  caretakers.set(id, caretaker);
  reportEnd(
    id,
    caretaker.run().finally(() => caretakers.delete(id)),
  );
}

function reportEnd(id: number, run: Promise<void>): void {
  run.then(
    () => report({ kind: 'stopped', id, error: undefined }),
    (error: unknown) => report({ kind: 'stopped', id, error: sendError(error) }),
  );
}

async function sync(id: number, ticket: number): Promise<void> {
  try {
    report({ kind: 'synced', id, ticket, txid: await captures.get(id)?.sync() });
  } catch (error) {
    report({ kind: 'sync-failed', id, ticket, error: sendError(error) });
  }
}

port.on('message', (request: Request) => {
  const capture = captures.get(request.id);
  switch (request.kind) {
    case 'open':
      open(request);
      break;
    case 'keep':
      keep(request);
      break;
    case 'sync':
      void sync(request.id, request.ticket);
      break;
    case 'stored':
      capture?.stored(request.file);
      break;
    case 'give-up':
      capture?.giveUp(request.what);
      break;
    case 'stop':
      capture?.stop(request.hasRoom);
      caretakers.get(request.id)?.stop();
      break;
  }
});
