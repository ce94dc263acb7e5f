import { Backoff, sleep } from '../base/async.ts';
import { hasCode, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { isBusy } from '../sqlite/sqlite-error.ts';
import { CaptureGauges } from './gauges.ts';
import { inspectDatabase } from './inspect.ts';
import { NotReady, Replaced } from './interruptions.ts';
import type { CaptureSettings } from './options.ts';
import { WalFollower } from './wal-follower.ts';
import { WalKeeper } from './wal-keeper.ts';
import { WalWatch } from './wal-watch.ts';

/** Pauses between tries to open what cannot be opened. */
const RETRY_MS = { first: 500, most: 60_000 } as const;

/**
 * Has a database that cannot be captured yet in its care: its WAL is checkpointed and measured, as the application counts on that. Nothing
 * is read but the WAL-index, and no read transaction is held.
 */
export class Caretaker {
  readonly #settings: CaptureSettings;
  readonly #log: Logger;
  readonly #gauges: CaptureGauges;
  readonly #keeper: WalKeeper;
  readonly #retry = new Backoff(RETRY_MS.first, RETRY_MS.most);
  readonly #stopping = new AbortController();
  #follower: WalFollower | undefined;
  #isTroubleSaid = false;

  constructor(settings: CaptureSettings, log: Logger, gauges = new CaptureGauges()) {
    this.#settings = settings;
    this.#log = log;
    this.#gauges = gauges;
    this.#keeper = new WalKeeper(settings, new WalWatch(log, gauges, settings.minCheckpointPages));
  }

  /** Runs until {@link stop}; the database is let go then. */
  async run(): Promise<void> {
    try {
      while (!this.#stopping.signal.aborted) await sleep(this.#look(), this.#stopping.signal);
    } finally {
      this.#letGo();
    }
  }

  stop(): void {
    this.#stopping.abort();
  }

  /** Returns how soon to look again, ms. */
  #look(): number {
    try {
      this.#follower ??= this.#open();
      if (!this.#follower.stillThere) throw new Replaced('the database was replaced, or removed');
      this.#keeper.look(this.#follower);
      this.#retry.reset();
      return this.#keeper.lookMs;
    } catch (error) {
      this.#letGo();
      // Whoever captures it, later, switches it to WAL mode.
      if (error instanceof NotReady || isBusy(error) || hasCode(error, 'NOT_IN_WAL_MODE')) {
        return this.#settings.monitorIntervalMs;
      }
      if (!this.#isTroubleSaid) this.#log.log('warn', 'the WAL is not checkpointed', { error: messageOf(error) });
      this.#isTroubleSaid = true;
      return this.#retry.next();
    }
  }

  #open(): WalFollower {
    const { path, metaPath, busyTimeoutMs, minCheckpointPages } = this.#settings;
    const found = inspectDatabase(path, false, 0);
    if (found.kind !== 'ready') throw new NotReady(found.reason);
    const limits = { busyTimeoutMs, urgentFrames: minCheckpointPages, maxPendingBytes: 0 };
    const settings = { ...limits, pageSize: found.pageSize, scratchFolder: metaPath };
    const nobody = { cut: () => undefined };
    const follower = new WalFollower(path, settings, nobody, this.#gauges);
    if (follower.hasItsPageSize) return follower;
    follower[Symbol.dispose]();
    throw new Replaced('the database was replaced by another file');
  }

  #letGo(): void {
    const follower = this.#follower;
    this.#follower = undefined;
    follower?.[Symbol.dispose]();
  }
}
