import { Backoff, sleep } from '../base/async.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { isStoreError } from '../store/store.ts';

/** How often one request is made before its failure is given on. */
export const MAX_ATTEMPTS = 6;
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 5000;

/** Decides, failure by failure, whether there is another attempt, and waits for it. One for each request. */
export class Retry {
  readonly #backoff = new Backoff(FIRST_RETRY_MS, MAX_RETRY_MS);
  readonly #what: string;
  readonly #signal: AbortSignal;
  readonly #logger: Logger;
  #failures = 0;

  constructor(what: string, signal: AbortSignal, logger: Logger) {
    this.#what = what;
    this.#signal = signal;
    this.#logger = logger;
  }

  /** Returns after a wait when it is worth trying again; throws `error` when it is not. */
  async after(error: unknown, isTransient = isStoreError(error, 'transient')): Promise<void> {
    this.#signal.throwIfAborted();
    this.#failures++;
    if (!isTransient || this.#failures >= MAX_ATTEMPTS) throw error;
    this.#logger.log('warn', `${this.#what} failed, trying again`, {
      attempt: this.#failures,
      error: messageOf(error),
    });
    await sleep(this.#backoff.next(), this.#signal);
    this.#signal.throwIfAborted();
  }
}
