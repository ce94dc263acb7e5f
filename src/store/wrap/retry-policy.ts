import { sleep } from '../../base/async.ts';
import { StoreError } from '../store.ts';

/** When and how often a failed request is made again. */
export interface RetryPolicy {
  /** How often a request is made before its failure is given on, the first time included. */
  readonly attempts: number;
  /** Before the second attempt; it doubles from attempt to attempt, with up to a quarter of jitter. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** A store that asks to be left alone for longer than this is not waited for. */
  readonly longestRetryAfterMs: number;
  /** Told before each further attempt. */
  readonly onRetry?: ((retry: RetryNotice) => void) | undefined;
}

export interface RetryNotice {
  /** What is tried: `reading ltx/0/…`. */
  readonly what: string;
  /** Attempts that have failed so far. */
  readonly attempt: number;
  readonly pauseMs: number;
  readonly error: StoreError;
}

export const DEFAULT_RETRY_POLICY: RetryPolicy = {
  attempts: 7,
  firstPauseMs: 100,
  longestPauseMs: 5000,
  longestRetryAfterMs: 120_000,
};

/** The attempts at one request. Only transient failures are worth another one. */
export class Attempts {
  readonly #policy: RetryPolicy;
  readonly #what: string;
  readonly #signal: AbortSignal | undefined;
  #failures = 0;

  constructor(policy: RetryPolicy, what: string, signal: AbortSignal | undefined) {
    this.#policy = policy;
    this.#what = what;
    this.#signal = signal;
  }

  /** Returns after a pause when there is to be another attempt; throws `error` when there is none. */
  async after(error: unknown): Promise<void> {
    this.#signal?.throwIfAborted();
    const failures = ++this.#failures;
    if (!(error instanceof StoreError) || error.kind !== 'transient' || failures >= this.#policy.attempts) throw error;
    const retryAfterMs = error.retryAfterMs ?? 0;
    if (retryAfterMs > this.#policy.longestRetryAfterMs) throw error;
    const backoffMs = Math.min(this.#policy.firstPauseMs * 2 ** (failures - 1), this.#policy.longestPauseMs);
    const pauseMs = Math.max(backoffMs, retryAfterMs) * (1 + Math.random() / 4);
    this.#policy.onRetry?.({ what: this.#what, attempt: failures, pauseMs, error });
    await sleep(pauseMs, this.#signal);
    this.#signal?.throwIfAborted();
  }

  /** Something came through: failures from now on are new ones. */
  reset(): void {
    this.#failures = 0;
  }
}

/** Runs `work` until it succeeds, fails for good, or has failed too often. */
export async function withRetries<T>(
  policy: RetryPolicy,
  what: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const attempts = new Attempts(policy, what, signal);
  for (;;) {
    try {
      return await work();
    } catch (error) {
      await attempts.after(error);
    }
  }
}
