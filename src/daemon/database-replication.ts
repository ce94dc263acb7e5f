import { existsSync } from 'node:fs';
import { Backoff, sleep } from '../base/async.ts';
import { resolveDatabasePath } from '../base/database-files.ts';
import { hasCode, messageOf, RivuletError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { formatTxid, type Txid } from '../base/types.ts';
import type { CaptureHandle, CaptureThread, CareHandle } from '../capture/capture-thread.ts';
import { asLocalFolderError } from '../capture/database-error.ts';
import type { SpooledFile } from '../capture/l0-writer.ts';
import {
  type CaptureSettings,
  type CaptureState,
  type GivenUp,
  NOTHING_STORED,
  type StoredBase,
} from '../capture/options.ts';
import type { DatabaseConfig } from '../config/config.ts';
import { formatDuration } from '../config/duration.ts';
import { createIdentity, readIdentity } from '../replica/identity.ts';
import { distrustState, loadLocalPosition, metaPathFor } from '../replica/local-state.ts';
import type { OpenedReplica } from '../replica/open-replica.ts';
import { lockOwner, type OwnerLock } from '../replica/owner-lock.ts';
import { isStoreError, StoreError } from '../store/store.ts';
import type { Measures } from './metrics.ts';
import { SpoolRoom } from './spool-room.ts';
import { findStart, type Start } from './starting-point.ts';
import { askedPauseMs, Uploader } from './uploader.ts';

/** Told while a database is replicated. */
export interface ReplicationEvents {
  state?(state: CaptureState): void;
  /** A file holds the commits up to now, on this machine. */
  captured?(file: SpooledFile): void;
  /** That file is durable in the store. */
  stored?(file: SpooledFile): void;
  /** How far long work is: restoring a missing database, or reading a whole one. */
  progress?(phase: 'restoring' | 'reading', doneBytes: number, totalBytes: number): void;
}

/** How a replication ended. */
export interface Ending {
  /** Every commit is in the store. */
  readonly complete: boolean;
  /** Files that are not stored, oldest first; they are in the spool and go first at the next start. */
  readonly left: readonly SpooledFile[];
  /** Why, if it is not complete. */
  readonly error: unknown;
}

export interface DrainLimits {
  readonly timeoutMs: number;
  readonly everyMs: number;
  /** Gives up waiting at once. */
  readonly signal: AbortSignal;
}

/** An application is not kept waiting longer than this for a store that may be away. */
const SILENCE_MS = 10_000;
/** Pauses between looks for a store that did not answer at the start, and how often that is said. */
const LATER_MS = { first: 1000, most: 15_000, remind: 30_000 } as const;

type Thread = Pick<CaptureThread, 'open' | 'keep'>;

/** One database on its way to its replica: capture, spool, store. */
export class DatabaseReplication {
  readonly #config: DatabaseConfig;
  readonly #opened: OpenedReplica;
  readonly #log: Logger;
  readonly #events: ReplicationEvents;
  readonly #uploader: Uploader;
  #capture: CaptureHandle | undefined;
  /** Before the capture, while the store does not answer. */
  #care: CareHandle | undefined;
  #state: CaptureState = { kind: 'waiting', reason: 'not started' };
  #stored: Txid | undefined;
  #storedFiles = 0;
  #storedBytes = 0;
  #uploadEnd: RivuletError | undefined;
  readonly #firstState = Promise.withResolvers<CaptureState>();
  readonly #ended = Promise.withResolvers<never>();
  #lock: OwnerLock | undefined;
  #metaPath = '';
  #lineage = '';
  readonly #ending = new AbortController();
  readonly #endStart = new AbortController();
  /** The start, while the store does not answer; and why it does not. */
  #waiting: Promise<void> | undefined;
  #startError: unknown;
  #hasStored = false;
  /** What is given up otherwise follows this. */
  #base: StoredBase = NOTHING_STORED;
  /** Until the capture has given up what it was asked to, its files count for nothing. */
  #givingUp = false;
  #timesGivenUp = 0;
  /** When the oldest commit was captured that was given up, until something is stored again. */
  #behindSinceMs: number | undefined;
  #captureEnds = false;
  #lost: RivuletError | undefined;
  #started = false;

  constructor(config: DatabaseConfig, opened: OpenedReplica, log: Logger, events: ReplicationEvents = {}) {
    this.#config = config;
    this.#opened = opened;
    this.#log = log.with({ db: config.path });
    this.#events = events;
    this.#ended.promise.catch(() => undefined); // whoever asks for it hears of it
    this.#uploader = new Uploader(
      opened.unretried,
      opened.replica.layout,
      {
        begun: () => this.#begun(),
        stored: (file) => this.#onStored(file),
        found: (file) => this.#onFound(file),
        ended: (error) => this.#onUploadEnded(error),
      },
      this.#log,
    );
  }

  /** What can be measured right now, without asking anybody. */
  get measures(): Measures {
    const { waiting } = this.#uploader;
    return {
      path: this.path,
      state: this.#uploadEnd ? 'failed' : this.#state.kind,
      gauges: (this.#capture ?? this.#care)?.gauges,
      capturedTxid: waiting.at(-1)?.txid ?? this.#stored ?? this.#base.txid,
      storedTxid: this.#stored ?? this.#base.txid,
      storedFiles: this.#storedFiles,
      storedBytes: this.#storedBytes,
      waitingFiles: waiting.length,
      waitingBytes: waiting.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      waitingSinceMs: this.#behindSinceMs ?? waiting[0]?.timestampMs,
      uploadFailures: this.#uploader.failures,
    };
  }

  get path(): string {
    return this.#config.path;
  }

  get state(): CaptureState {
    return this.#state;
  }

  /** The newest TXID that is in the store. */
  get storedTxid(): Txid | undefined {
    return this.#stored;
  }

  /** Rejects when this replication cannot go on, whatever is tried: somebody else writes to its replica. */
  get ended(): Promise<never> {
    return this.#ended.promise;
  }

  /** What keeps commits from being stored right now; undefined when nothing does. */
  get trouble(): unknown {
    if (this.#uploadEnd) return this.#uploadEnd;
    if (this.#state.kind === 'failed') return this.#state.error;
    return this.#startError ?? this.#uploader.lastError;
  }

  /**
   * Starts, and resolves when the standing read is held or there is nothing to read yet. Throws what only a person can
   * mend: a store that cannot be used, another database's replica, a file that is no database; the signal's reason when
   * it was aborted while the store was asked.
   *
   * With `canWait`, a store that does not answer is no error for a database that was replicated to it before: that goes on
   * unreplicated until the store is back. Then what it differs by is stored.
   */
  async start(thread: Thread, signal: AbortSignal, canWait: boolean): Promise<void> {
    const path = resolveDatabasePath(this.#config.path);
    const metaPath = this.#config.metaPath ?? metaPathFor(path);
    const mayWait = canWait && this.#wasReplicated(path, metaPath);
    this.#own(path, metaPath);
    try {
      if (mayWait) await this.#expectAnswer(signal);
      await this.#begin(thread, path, metaPath, await this.#findStart(path, metaPath, signal));
    } catch (error) {
      if (!mayWait || !isStoreError(error, 'transient')) throw error;
      this.#waiting = this.#startLater(thread, path, metaPath, error);
    }
  }

  /** Asks the store once, and not for long. Throws a transient error where it does not answer. */
  async #expectAnswer(signal: AbortSignal): Promise<void> {
    const { unretried } = this.#opened;
    const patience = AbortSignal.timeout(SILENCE_MS);
    try {
      await readIdentity(unretried, { signal: AbortSignal.any([signal, patience]) });
    } catch (error) {
      signal.throwIfAborted();
      const message = `${unretried.url} did not answer within ${SILENCE_MS / 1000} s`;
      if (patience.aborted) throw new StoreError('transient', { message });
      // What else is wrong is told by who needs it.
      if (isStoreError(error, 'transient')) throw error;
    }
  }

  /** Whether this database is there, and its local state is about this replica. */
  #wasReplicated(path: string, metaPath: string): boolean {
    return existsSync(path) && loadLocalPosition(metaPath)?.replicaUrl === this.#opened.store.url;
  }

  async #startLater(thread: Thread, path: string, metaPath: string, why: StoreError): Promise<void> {
    const settings = settingsOf({ ...this.#config, path }, metaPath, this.#opened.store.url, undefined);
    this.#care = thread.keep(settings, this.#log);
    try {
      await this.#startOnceItAnswers(thread, path, metaPath, why);
    } finally {
      await this.#care.stop();
    }
  }

  async #startOnceItAnswers(thread: Thread, path: string, metaPath: string, why: StoreError): Promise<void> {
    const { signal } = this.#endStart;
    const backoff = new Backoff(LATER_MS.first, LATER_MS.most);
    const sinceMs = Date.now();
    let saidMs = Number.NEGATIVE_INFINITY;
    this.#startError = why;
    using room = new SpoolRoom(path, metaPath, this.#log);
    for (let isLast = false; !isLast; ) {
      if (performance.now() - saidMs >= LATER_MS.remind) {
        saidMs = performance.now();
        const message = 'the store does not answer: the database is not replicated until it does';
        const kept = 'its commits are in it, and are stored then';
        this.#log.log('error', message, { error: messageOf(this.#startError), kept });
      }
      room.relieve();
      await sleep(Math.max(backoff.next(), askedPauseMs(this.#startError)), this.#ending.signal);
      // A stop makes one more try: the store may be back.
      isLast = this.#ending.signal.aborted;
      if (signal.aborted) return;
      try {
        const start = await this.#findStart(path, metaPath, signal);
        await this.#care?.stop(); // one at a time has it open
        await this.#begin(thread, path, metaPath, start);
        this.#startError = undefined;
        this.#log.log('info', 'the store answers again', { after: formatDuration(Date.now() - sinceMs) });
        return;
      } catch (error) {
        if (signal.aborted) return; // why the store did not answer is known from before
        this.#startError = error;
        // On its way back a store also denies, or a balancer answers for it: that is not the last word.
        if (error instanceof StoreError) continue;
        this.#log.log('error', messageOf(error));
        this.#ended.reject(error);
        return;
      }
    }
  }

  async #begin(thread: Thread, path: string, metaPath: string, start: Start): Promise<void> {
    const { store } = this.#opened;
    const { position } = start.point;
    this.#metaPath = metaPath;
    this.#lineage = start.lineage;
    this.#stored = start.unstored.length === 0 ? position?.txid : undefined;
    this.#log.log('info', 'replicating to', {
      replica: store.url,
      txid: position ? formatTxid(position.txid) : 'none yet',
    });
    this.#base = start.base;
    for (const file of start.unstored) this.#uploader.enqueue(file);
    const settings = settingsOf({ ...this.#config, path }, metaPath, store.url, start.lineage);
    this.#capture = thread.open(
      settings,
      start.point,
      {
        state: (state) => this.#onState(state),
        spooled: (file) => this.#onSpooled(file),
        progress: (doneBytes, totalBytes) => this.#events.progress?.('reading', doneBytes, totalBytes),
        starved: () => this.#onStarved(),
        gaveUp: () => {
          this.#givingUp = false;
        },
      },
      this.#log,
    );
    const first = await this.#firstState.promise;
    if (first.kind === 'failed') throw first.error;
    this.#started = true;
    this.#capture.ended.catch((error: unknown) => this.#ended.reject(error));
  }

  /** From now on nobody else replicates it. */
  #own(databasePath: string, metaPath: string): void {
    try {
      this.#lock = lockOwner(databasePath, metaPath);
    } catch (error) {
      throw asLocalFolderError(error, metaPath);
    }
  }

  async #findStart(databasePath: string, metaPath: string, signal: AbortSignal): Promise<Start> {
    const { store, replica } = this.#opened;
    try {
      return await findStart({ databasePath, metaPath, store, replica, log: this.#log, signal });
    } catch (error) {
      throw asLocalFolderError(error, metaPath);
    }
  }

  /** Stores everything that is committed now; throws when that does not succeed in time. */
  async syncNow(limits: DrainLimits): Promise<Txid | undefined> {
    const untilMs = performance.now() + limits.timeoutMs;
    for (;;) {
      const timesGivenUp = this.#timesGivenUp;
      const txid = await this.#captureAll(limits);
      const drained = await this.#drain(limits);
      // Nothing waits where what was captured was given up.
      if (drained && !this.#givingUp && timesGivenUp === this.#timesGivenUp) return txid;
      if (drained && performance.now() < untilMs) continue;
      throw this.trouble ?? new RivuletError({ code: 'NOT_STORED', message: `${this.path}: not stored in time` });
    }
  }

  /** Everything that is committed now goes into the spool. One that is past its cap is emptied first. */
  async #captureAll(limits: DrainLimits): Promise<Txid | undefined> {
    const untilMs = performance.now() + limits.timeoutMs;
    for (;;) {
      try {
        return await this.#capture?.sync();
      } catch (error) {
        const mayMakeRoom = hasCode(error, 'CAPTURE_SUSPENDED') && performance.now() < untilMs;
        if (!mayMakeRoom || !(await this.#drain(limits))) throw error;
        await sleep(limits.everyMs, limits.signal); // others may have to make room as well
      }
    }
  }

  /** Captures the last commits, lets the database go, and stores what is left within the limits. */
  async stop(limits: DrainLimits): Promise<Ending> {
    this.#ending.abort();
    const untilMs = performance.now() + limits.timeoutMs;
    await this.#endWaiting(limits);
    let error = this.#startError;
    // Past the spool's cap nothing more is captured: what waits has to make room first.
    const hasRoom = this.#state.kind === 'suspended' && (await this.#drain(limits));
    this.#captureEnds = true;
    try {
      await this.#capture?.stop(hasRoom);
    } catch (failure) {
      error = failure;
    }
    const leftMs = Math.min(limits.timeoutMs, Math.max(Math.ceil(untilMs - performance.now()), 1));
    const drained = await this.#drain({ ...limits, timeoutMs: leftMs });
    this.#uploader.stop();
    const left = [...this.#uploader.waiting];
    if (hasCode(this.#uploadEnd, 'REPLICA_CONFLICT')) this.#distrustState();
    await this.#opened.store.close();
    this.#lock?.[Symbol.dispose]();
    error ??= this.#lost ?? this.#uploadEnd;
    return { complete: drained && error === undefined, left, error: error ?? (drained ? undefined : this.trouble) };
  }

  /** A store that did not answer at the start gets one more chance, within the limits. */
  async #endWaiting({ timeoutMs, signal }: DrainLimits): Promise<void> {
    if (!this.#waiting) return;
    const until = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    if (until.aborted) this.#endStart.abort();
    else until.addEventListener('abort', () => this.#endStart.abort(), { once: true });
    await this.#waiting;
  }

  #distrustState(): void {
    try {
      distrustState(this.#metaPath);
    } catch (error) {
      const next = `remove ${this.#metaPath} before the next start`;
      this.#log.log('warn', 'the local state could not be marked as doubtful', { error: messageOf(error), next });
    }
  }

  /** Ends a replication that did not start. */
  async abandon(): Promise<void> {
    await this.#capture?.stop().catch(() => undefined);
    this.#uploader.stop();
    await this.#opened.store.close();
    this.#lock?.[Symbol.dispose]();
  }

  #drain({ timeoutMs, everyMs, signal }: DrainLimits): Promise<boolean> {
    return this.#uploader.drain(timeoutMs, everyMs, signal);
  }

  #onState(state: CaptureState): void {
    const news =
      state.kind !== this.#state.kind ||
      !('reason' in state && 'reason' in this.#state && state.reason === this.#state.reason);
    this.#state = state;
    this.#firstState.resolve(state);
    // At the start it is told by whoever asked for the start, and not tried again.
    if (state.kind === 'failed' && this.#started) {
      this.#log.log('error', 'capture failed, trying again', { error: messageOf(state.error) });
    }
    if (state.kind === 'waiting' && news) this.#log.log('info', 'waiting', { reason: state.reason });
    this.#events.state?.(state);
  }

  #onSpooled(file: SpooledFile): void {
    if (this.#givingUp) return; // it is given up as well
    this.#events.captured?.(file);
    if (!this.#uploadEnd) this.#uploader.enqueue(file);
  }

  /**
   * Says whose the replica is, once there is something in it: an identity without files then means that files were lost,
   * not that there never were any.
   */
  async #begun(): Promise<void> {
    const { store } = this.#opened;
    const { lineage } = await createIdentity(store, this.#lineage);
    if (lineage === this.#lineage) return;
    throw new RivuletError({
      code: 'REPLICA_CONFLICT',
      message: `somebody else began to replicate to ${store.url} in the same moment`,
      kept: 'their identity was not overwritten',
      next: 'stop one of the two, or give each its own path; then start again',
    });
  }

  #onStored(file: SpooledFile): void {
    if (!this.#hasStored) void this.#sayUndecidedCreates();
    this.#hasStored = true;
    this.#stored = file.txid;
    this.#behindSinceMs = undefined;
    // An image whose snapshot was missing comes after what follows it.
    if (file.txid >= this.#base.txid) {
      this.#base = { txid: file.txid, fileChecksum: file.fileChecksum, lacksSnapshot: false };
    }
    this.#storedFiles++;
    this.#storedBytes += file.sizeBytes;
    this.#capture?.stored(file);
    this.#events.stored?.(file);
  }

  /** The capture's files take room that the database needs. One that ends is not asked any more: they stay. */
  #onStarved(): void {
    if (this.#givingUp || this.#ending.signal.aborted) return;
    this.#behindSinceMs ??= this.#uploader.waiting[0]?.timestampMs;
    this.#uploader.giveUp();
    this.#haveGivenUp({ from: this.#base.txid + 1n, base: this.#base });
  }

  /** What was made in place of a file that had been given up cannot be stored: that one was. It is what the replica has. */
  #onFound({ txid, fileChecksum, kind }: SpooledFile): void {
    this.#log.log('info', 'a file that had been given up was stored all the same', { txid: formatTxid(txid) });
    this.#stored = txid;
    this.#base = { txid, fileChecksum, lacksSnapshot: kind === 'image' && txid > 1n };
    this.#haveGivenUp({ from: txid, base: this.#base });
  }

  #haveGivenUp(what: GivenUp): void {
    this.#timesGivenUp++;
    this.#givingUp = true;
    if (this.#captureEnds) {
      // Nobody can make another one any more. The next start finds the two to differ, and reads the replica.
      this.#lost = new RivuletError({
        code: 'NOT_STORED',
        message: `${this.path}: the last commits could not be stored`,
        kept: 'they are in the database',
        next: 'start Rivulet again: it compares the database with the replica, and stores what differs',
      });
      return;
    }
    this.#capture?.giveUp(what);
  }

  /** Known since the first file was stored: asking costs no request. */
  async #sayUndecidedCreates(): Promise<void> {
    const { store } = this.#opened;
    const decides = await store.conditionalWrites().catch(() => true); // whatever it is, the next file meets it, too
    if (decides) return;
    const message =
      'this store cannot decide which of two writers comes first: Rivulet looks before and after each file, at three more requests';
    this.#log.log('warn', message, { replica: store.url, next: 'let nothing else replicate to this path' });
  }

  #onUploadEnded(error: RivuletError): void {
    this.#uploadEnd = error;
    this.#log.log('error', error.message, { kept: error.kept, next: error.next });
    this.#events.state?.({ kind: 'failed', error });
    this.#ended.reject(error);
  }
}

function settingsOf(
  config: DatabaseConfig,
  metaPath: string,
  replicaUrl: string,
  lineage: string | undefined,
): CaptureSettings {
  return {
    path: config.path,
    metaPath,
    replicaUrl,
    lineage,
    syncIntervalMs: config.replica.syncIntervalMs,
    monitorIntervalMs: config.monitorIntervalMs,
    busyTimeoutMs: config.busyTimeoutMs,
    minCheckpointPages: config.minCheckpointPageCount,
    checkpointIntervalMs: config.checkpointIntervalMs,
    truncatePages: config.truncatePageCount,
    maxSyncWalBytes: config.maxSyncWalBytes,
    maxSpoolBytes: config.maxSpoolBytes,
    setWal: config.setWal,
  };
}
