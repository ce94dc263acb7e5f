import { Worker } from 'node:worker_threads';
import { registerMemory } from '../base/database-files.ts';
import { messageOf, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Txid } from '../base/types.ts';
import { CaptureGauges } from './gauges.ts';
import type { SpooledFile } from './l0-writer.ts';
import { type Report, type Request, receiveError, receiveState } from './messages.ts';
import type { CaptureListener, CaptureSettings, GivenUp, StartingPoint } from './options.ts';

/** A capture that runs in the capture thread. */
export interface CaptureHandle {
  readonly gauges: CaptureGauges;
  /** Resolves once everything committed before the call is in the spool; undefined while there is no database. */
  sync(): Promise<Txid | undefined>;
  /** Says that a spooled file is in the store. */
  stored(file: SpooledFile): void;
  /** Gives up what was told of and is not stored; the listener hears when that is done. */
  giveUp(what: GivenUp): void;
  /** Rejects when the capture ends by itself: it cannot go on, whatever is tried. */
  readonly ended: Promise<void>;
  /**
   * Captures the last commits and lets the database go. Throws when the last commits could not be captured. `hasRoom`: a
   * spool that is past its cap is no reason for that, as it is about to be emptied.
   */
  stop(hasRoom?: boolean): Promise<void>;
}

/** A database that is kept in the capture thread, and not captured. */
export interface CareHandle {
  readonly gauges: CaptureGauges;
  /** Lets the database go. */
  stop(): Promise<void>;
}

interface Entry {
  /** Undefined for one that is not captured. */
  readonly listener: CaptureListener | undefined;
  readonly logger: Logger;
  readonly tickets: Map<number, { resolve: (txid: Txid | undefined) => void; reject: (error: unknown) => void }>;
  readonly stopped: PromiseWithResolvers<void>;
}

/**
 * Short-lived objects of the capture thread, MiB. It makes many small ones and keeps few: left alone, V8 takes 48 MiB for them
 * before it looks which are still needed.
 */
const YOUNG_MIB = 6;

/** The thread that captures every database of this process. Started with the first one. */
export class CaptureThread {
  #worker: Worker | undefined;
  readonly #entries = new Map<number, Entry>();
  readonly #died = Promise.withResolvers<never>();
  #nextId = 1;
  #nextTicket = 1;

  constructor() {
    this.#died.promise.catch(() => undefined); // whoever asks for it hears of it
  }

  /**
   * Starts the thread ahead of the first database: that takes as long as finding out where to start. `expectsImage`: a
   * large database may have to be read whole, so that a second encoding thread will be wanted.
   */
  warmUp(expectsImage: boolean): void {
    this.#worker ??= this.#start(expectsImage);
  }

  /** Rejects when the thread dies by itself: nothing is captured any more. */
  get died(): Promise<never> {
    return this.#died.promise;
  }

  open(settings: CaptureSettings, start: StartingPoint, listener: CaptureListener, logger: Logger): CaptureHandle {
    const { id, entry } = this.#enter(listener, logger);
    const gauges = new CaptureGauges();
    this.#send({ kind: 'open', id, settings, start, gauges: gauges.memory });
    return {
      gauges,
      sync: () => this.#sync(id, entry),
      stored: (file) => this.#send({ kind: 'stored', id, file }),
      giveUp: (what) => this.#send({ kind: 'give-up', id, what }),
      ended: entry.stopped.promise,
      stop: (hasRoom = false) => {
        this.#send({ kind: 'stop', id, hasRoom });
        return entry.stopped.promise;
      },
    };
  }

  /** Looks after a database that cannot be captured yet, see Caretaker. */
  keep(settings: CaptureSettings, logger: Logger): CareHandle {
    const { id, entry } = this.#enter(undefined, logger);
    const gauges = new CaptureGauges();
    this.#send({ kind: 'keep', id, settings, gauges: gauges.memory });
    return {
      gauges,
      stop: () => {
        this.#send({ kind: 'stop', id, hasRoom: false });
        return entry.stopped.promise.catch(() => undefined); // of a thread that died hears who asks for it
      },
    };
  }

  #enter(listener: CaptureListener | undefined, logger: Logger): { readonly id: number; readonly entry: Entry } {
    const id = this.#nextId++;
    const entry: Entry = { listener, logger, tickets: new Map(), stopped: Promise.withResolvers<void>() };
    entry.stopped.promise.catch(() => undefined); // whoever calls stop() hears of it
    this.#entries.set(id, entry);
    return { id, entry };
  }

  /** Ends the thread; captures that still run are cut off where they are. */
  async close(): Promise<void> {
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  #sync(id: number, entry: Entry): Promise<Txid | undefined> {
    const ticket = this.#nextTicket++;
    return new Promise((resolve, reject) => {
      entry.tickets.set(ticket, { resolve, reject });
      this.#send({ kind: 'sync', id, ticket });
    });
  }

  #send(request: Request): void {
    this.#worker ??= this.#start(false);
    this.#worker.postMessage(request);
  }

  #start(expectsImage: boolean): Worker {
    const worker = new Worker(new URL('./capture-worker.ts', import.meta.url), {
      workerData: { register: registerMemory(), expectsImage },
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB },
    });
    worker.on('message', (message: Report) => this.#receive(message));
    worker.on('error', (error: unknown) => this.#fail(error));
    return worker;
  }

  #receive(message: Report): void {
    const entry = this.#entries.get(message.id);
    if (!entry) return;
    switch (message.kind) {
      case 'log':
        entry.logger.log(message.level, message.message, message.fields);
        break;
      case 'state':
        entry.listener?.state(receiveState(message.state));
        break;
      case 'spooled':
        entry.listener?.spooled(message.file);
        break;
      case 'progress':
        entry.listener?.progress(message.doneBytes, message.totalBytes);
        break;
      case 'starved':
        entry.listener?.starved();
        break;
      case 'gave-up':
        entry.listener?.gaveUp();
        break;
      case 'synced':
        this.#take(entry, message.ticket)?.resolve(message.txid);
        break;
      case 'sync-failed':
        this.#take(entry, message.ticket)?.reject(receiveError(message.error));
        break;
      case 'stopped':
        if (message.error) entry.stopped.reject(receiveError(message.error));
        else entry.stopped.resolve();
        break;
    }
  }

  #take(
    entry: Entry,
    ticket: number,
  ): { resolve: (txid: Txid | undefined) => void; reject: (error: unknown) => void } | undefined {
    const waiting = entry.tickets.get(ticket);
    entry.tickets.delete(ticket);
    return waiting;
  }

  /** The thread died: every capture in it has failed. */
  #fail(cause: unknown): void {
    const error = new RivuletError({
      code: 'CAPTURE_THREAD_DIED',
      message: `the capture thread died: ${messageOf(cause)}`,
      kept: 'the databases are untouched; what was captured is in the store or in the spool',
      next: 'start Rivulet again',
      cause,
    });
    this.#died.reject(error);
    for (const entry of this.#entries.values()) {
      entry.listener?.state({ kind: 'failed', error });
      for (const ticket of entry.tickets.values()) ticket.reject(error);
      entry.stopped.reject(error);
    }
  }
}
