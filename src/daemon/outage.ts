import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { formatTxid } from '../base/types.ts';
import type { SpooledFile } from '../capture/l0-writer.ts';
import { formatDuration } from '../config/duration.ts';

/** While a store fails, that is said this often. */
const REMIND_EVERY_MS = 30_000;

/** Says in the log when a store began to fail, how far the replica is behind meanwhile, and when it has caught up. */
export class Outage {
  readonly #log: Logger;
  readonly #now: () => number;
  #beganMs: number | undefined;
  #saidMs = 0;
  /** The store takes files again, and those that waited are on their way. */
  #isBack = false;
  #files = 0;
  #bytes = 0;

  constructor(log: Logger, now: () => number = Date.now) {
    this.#log = log;
    this.#now = now;
  }

  /** A file could not be stored; `waiting` are all that are not, oldest first. */
  failed(error: unknown, waiting: readonly SpooledFile[]): void {
    const now = this.#now();
    const isNew = this.#beganMs === undefined;
    const failsAgain = this.#isBack;
    this.#beganMs ??= now;
    this.#isBack = false;
    if (!isNew && !failsAgain && now - this.#saidMs < REMIND_EVERY_MS) return;
    this.#saidMs = now;
    const first = waiting[0];
    const message = isNew
      ? 'cannot store: commits are kept on this machine, and it is tried again until it succeeds'
      : 'still cannot store';
    this.#log.log('error', message, {
      error: messageOf(error),
      txid: first && formatTxid(first.txid),
      waiting: waiting.length,
      bytes: bytesOf(waiting),
      behind: first && formatDuration(Math.max(now - first.timestampMs, 0)),
      ...(!isNew && { since: new Date(this.#beganMs).toISOString() }),
    });
  }

  /** `file` was stored; `waiting` are those that are not. */
  stored(file: SpooledFile, waiting: readonly SpooledFile[]): void {
    if (this.#beganMs === undefined) return;
    const took = formatDuration(this.#now() - this.#beganMs);
    if (!this.#isBack && waiting.length > 0) {
      this.#log.log('info', 'the store is back', { after: took, waiting: waiting.length, bytes: bytesOf(waiting) });
    }
    this.#isBack = true;
    this.#files++;
    this.#bytes += file.sizeBytes;
    if (waiting.length > 0) return;
    this.#log.log('info', 'the store is back, and everything is stored', {
      after: took,
      files: this.#files,
      bytes: this.#bytes,
      txid: formatTxid(file.txid),
    });
    this.#beganMs = undefined;
    this.#isBack = false;
    this.#files = 0;
    this.#bytes = 0;
  }
}

function bytesOf(files: readonly SpooledFile[]): number {
  return files.reduce((sum, file) => sum + file.sizeBytes, 0);
}
