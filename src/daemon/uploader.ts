import { existsSync } from 'node:fs';
import { Backoff, sleep } from '../base/async.ts';
import { hasCode, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { type Checksum, formatTxid } from '../base/types.ts';
import type { SpooledFile } from '../capture/l0-writer.ts';
import { decodeHeader, HEADER_SIZE, TRAILER_SIZE } from '../ltx/format.ts';
import { LtxError } from '../ltx/ltx-error.ts';
import { readTrailer } from '../ltx/page-index.ts';
import type { KeyLayout } from '../replica/layout.ts';
import { isStoreError, objectUrl, type RequestOptions, readInto, type Store, StoreError } from '../store/store.ts';
import { Outage } from './outage.ts';
import { needsSnapshot, storeSnapshot } from './snapshot.ts';

/** Pauses between tries of one file. */
const RETRY_MS = { first: 500, most: 15_000 } as const;
/** A store that asks to be left alone for longer is asked again after this all the same: commits wait meanwhile. */
const LONGEST_RETRY_AFTER_MS = 120_000;

export interface UploaderEvents {
  /** The replica's first file is stored, but not yet told of; what fails here is tried again with it. */
  begun(): Promise<void>;
  /** A file is durable in the store. */
  stored(file: SpooledFile): void;
  /** A file that was given up was stored all the same: this one. What was to follow it is given up. */
  found(file: SpooledFile): void;
  /** No file is stored any more, whatever is tried: somebody else wrote this TXID, or the file is lost. */
  ended(error: RivuletError): void;
}

/** Stores spooled L0 files, one at a time and in order, for as long as it takes. */
export class Uploader {
  readonly #store: Store;
  readonly #layout: KeyLayout;
  readonly #events: UploaderEvents;
  readonly #log: Logger;
  readonly #outage: Outage;
  readonly #queue: SpooledFile[] = [];
  #stopped = false;
  /** Ends the try that is under way. */
  #try = new AbortController();
  /** Files that were tried and given up: the store may have them all the same. */
  #givenUp: SpooledFile[] = [];
  /** The newest file that this one stored in level 0. */
  #previous: SpooledFile | undefined;
  #running: Promise<void> = Promise.resolve();
  #isRunning = false;
  #hurry: (() => void) | undefined;
  #lastError: unknown;
  #failures = 0;

  constructor(store: Store, layout: KeyLayout, events: UploaderEvents, log: Logger) {
    this.#store = store;
    this.#layout = layout;
    this.#events = events;
    this.#log = log;
    this.#outage = new Outage(log);
  }

  /** Files that are not stored yet, oldest first. */
  get waiting(): readonly SpooledFile[] {
    return this.#queue;
  }

  /** Why the last try failed; undefined after a success. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** Tries that failed. */
  get failures(): number {
    return this.#failures;
  }

  enqueue(file: SpooledFile): void {
    this.#queue.push(file);
    if (!this.#isRunning) this.#running = this.#run();
  }

  /**
   * Waits until everything is stored, trying `everyMs`; false when `timeoutMs` ran out (0: after one try that failed), or
   * `signal` gave up.
   */
  async drain(timeoutMs: number, everyMs: number, signal: AbortSignal): Promise<boolean> {
    const until = timeoutMs === 0 ? signal : AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const failures = this.#failures;
    while (this.#isRunning && this.#queue.length > 0 && !until.aborted) {
      if (timeoutMs === 0 && this.#failures > failures) break;
      this.#hurry?.();
      await Promise.race([this.#running, sleep(everyMs, until)]);
    }
    return this.#queue.length === 0;
  }

  /** Forgets what is not stored, for good: others take these TXIDs. */
  giveUp(): void {
    this.#givenUp.push(...this.#queue.splice(0).slice(0, 1));
    this.#try.abort();
    this.#hurry?.();
  }

  /** Ends; what is not stored stays in the spool. */
  stop(): void {
    this.#stopped = true;
    this.#try.abort();
    this.#hurry?.();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    const backoff = new Backoff(RETRY_MS.first, RETRY_MS.most);
    try {
      for (let file = this.#queue[0]; file && !this.#stopped; file = this.#queue[0]) {
        if (!(await this.#attempt(file, backoff))) return;
      }
    } finally {
      // In the same moment as the last look at the queue: who enqueues after that begins anew.
      this.#isRunning = false;
    }
  }

  /** Tries to store the first file of the queue, and waits where that fails; false when nothing is stored any more. */
  async #attempt(file: SpooledFile, backoff: Backoff): Promise<boolean> {
    let stored: SpooledFile;
    this.#try = new AbortController();
    try {
      stored = await this.#storeFile(file);
    } catch (error) {
      if (this.#stopped) return false;
      if (this.#queue[0] !== file) return true; // it was given up
      this.#lastError = error;
      this.#failures++;
      const final = finalError(error, file);
      if (final) {
        this.#lastError = final;
        this.#events.ended(final);
        return false;
      }
      this.#outage.failed(error, this.#queue);
      // A store that asks to be left alone longer is left alone longer.
      await this.#pause(Math.max(backoff.next(), askedPauseMs(error)));
      return true;
    }
    backoff.reset();
    this.#lastError = undefined;
    if (this.#queue[0] !== file) return true; // given up, but stored: the next one of its TXID meets it
    this.#givenUp = this.#givenUp.filter(({ txid }) => txid > file.txid);
    if (stored === file) {
      this.#queue.shift();
      this.#outage.stored(file, this.#queue);
      this.#events.stored(file);
    } else {
      this.#queue.length = 0; // none of them was tried
      this.#events.found(stored);
    }
    return true;
  }

  /** Stores it, and says so; or says which one of the same TXID was found that had been given up. */
  async #storeFile(file: SpooledFile): Promise<SpooledFile> {
    const { signal } = this.#try;
    if (this.#previous !== file) {
      const stored = await this.#storeOrFind(file, signal);
      if (stored !== file) {
        if (stored.txid === 1n) await this.#events.begun();
        return stored;
      }
      if (this.#previous) await this.#checkStands(this.#previous);
      this.#previous = file;
    }
    if (needsSnapshot(file)) {
      await this.#checkStands(file);
      await storeSnapshot(this.#store, this.#layout, file, signal);
    }
    if (file.txid === 1n) await this.#events.begun();
    this.#log.log('debug', 'ltx file uploaded', { txid: formatTxid(file.txid), size: file.sizeBytes, kind: file.kind });
    return file;
  }

  async #storeOrFind(file: SpooledFile, signal: AbortSignal): Promise<SpooledFile> {
    const before = this.#givenUp.filter(({ txid }) => txid === file.txid);
    try {
      await storeFile(this.#store, this.#layout, file, signal);
      return file;
    } catch (error) {
      if (before.length === 0 || !hasCode(error, 'REPLICA_CONFLICT')) throw error;
      const key = this.#layout.key(0, file.txid, file.txid);
      for (const given of before) {
        const theirs = await storedChecksum(this.#store, key, given.sizeBytes, { signal });
        if (theirs === given.fileChecksum) return given;
      }
      throw error;
    }
  }

  /**
   * Where the store does not decide creates, a second writer that looked in the same moment has replaced our file by its own.
   * What we store from then on would be built on a file that is no more.
   */
  async #checkStands(file: SpooledFile): Promise<void> {
    const options = { signal: this.#try.signal };
    if (await this.#store.conditionalWrites(options)) return;
    const key = this.#layout.key(0, file.txid, file.txid);
    try {
      if ((await storedChecksum(this.#store, key, file.sizeBytes, options)) !== file.fileChecksum) {
        throw replaced(this.#store, key);
      }
    } catch (error) {
      if (!isStoreError(error, 'not-found')) throw error; // files that were merged into others are removed
    }
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#hurry = undefined;
  }
}

/** How long the store that failed so asks to be left alone; 0: it does not ask. */
export function askedPauseMs(error: unknown): number {
  const askedMs = error instanceof StoreError ? (error.retryAfterMs ?? 0) : 0;
  return Math.min(askedMs, LONGEST_RETRY_AFTER_MS);
}

/** Stores a spooled file, and the snapshot that it needs. Throws REPLICA_CONFLICT when there is another file of its TXID. */
export async function storeSpooled(
  store: Store,
  layout: KeyLayout,
  file: SpooledFile,
  signal?: AbortSignal,
): Promise<void> {
  await storeFile(store, layout, file, signal);
  if (needsSnapshot(file)) await storeSnapshot(store, layout, file, signal);
}

/** Stores one level 0 file, and never over another one. Throws REPLICA_CONFLICT when there is another one. */
export async function storeFile(
  store: Store,
  layout: KeyLayout,
  file: SpooledFile,
  signal?: AbortSignal,
): Promise<void> {
  const key = layout.key(0, file.txid, file.txid);
  const body = { file: file.path, sizeBytes: file.sizeBytes };
  try {
    await store.put(key, body, { ifAbsent: true, timestampMs: file.timestampMs, signal });
  } catch (error) {
    if (!isStoreError(error, 'exists')) throw error;
    // An earlier try may have succeeded without the answer reaching us: the same file is there then.
    const theirs = await storedChecksum(store, key, file.sizeBytes, { signal });
    if (theirs !== file.fileChecksum) throw conflict(store, key, file);
  }
}

/** The error that ends all storing, if `error` is or means one. */
function finalError(error: unknown, file: SpooledFile): RivuletError | undefined {
  if (error instanceof RivuletError && error.code === 'REPLICA_CONFLICT') return error;
  const isThere = existsSync(file.path);
  if (isThere && !(error instanceof LtxError)) return undefined;
  return new RivuletError({
    code: 'SPOOL_LOST',
    message: `${file.path} was ${isThere ? 'changed' : 'removed'} before it was stored, by something other than Rivulet`,
    kept: 'the database itself has its commits',
    next: 'start Rivulet again: it compares the database with the replica, and stores what differs',
    cause: error,
  });
}

/** The file checksum of a stored LTX file of this size; undefined when it has another size, or is no such file. */
export async function storedChecksum(
  store: Store,
  key: string,
  sizeBytes: number,
  options: RequestOptions = {},
): Promise<Checksum | undefined> {
  const head = new Uint8Array(HEADER_SIZE);
  if ((await readInto(store, key, head, { ...options, length: HEADER_SIZE })) < HEADER_SIZE) return undefined;
  const tail = new Uint8Array(TRAILER_SIZE + 1);
  const got = await readInto(store, key, tail, { ...options, offset: sizeBytes - TRAILER_SIZE });
  if (got !== TRAILER_SIZE) return undefined;
  try {
    return readTrailer(tail.subarray(0, got), decodeHeader(head)).fileChecksum;
  } catch (error) {
    if (error instanceof LtxError) return undefined;
    throw error;
  }
}

function conflict(store: Store, key: string, file: SpooledFile): RivuletError {
  return new RivuletError({
    code: 'REPLICA_CONFLICT',
    message: `somebody else wrote ${objectUrl(store.url, key)}: another process replicates to the same path`,
    kept: `their file was not overwritten; ours is at ${file.path}`,
    next: 'stop one of the two, or give each its own path; then start again',
  });
}

function replaced(store: Store, key: string): RivuletError {
  return new RivuletError({
    code: 'REPLICA_CONFLICT',
    message: `somebody else replaced ${objectUrl(store.url, key)} by a file of theirs: another process replicates to the same path`,
    kept: 'the database has its commits; the next start compares it with what is stored',
    next: 'stop one of the two, or give each its own path; then start again',
  });
}
