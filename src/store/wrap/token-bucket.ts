import { sleep } from '../../base/async.ts';

/** What a {@link TokenBucket} tells the time and waits by. */
export interface Clock {
  nowMs(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

const REAL_CLOCK: Clock = { nowMs: () => performance.now(), sleep };
/** What was not used may be caught up with for so long, not longer. */
const BURST_MS = 250;

/** Holds bytes back so that on average no more than so many pass in a second. */
export class TokenBucket {
  readonly #bytesPerMs: number;
  readonly #clock: Clock;
  /** When all that was let through will have been paid for. */
  #paidUntilMs: number;

  constructor(bytesPerSecond: number, clock: Clock = REAL_CLOCK) {
    if (!(bytesPerSecond > 0)) throw new RangeError(`not a rate: ${bytesPerSecond} bytes a second`);
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#clock = clock;
    this.#paidUntilMs = clock.nowMs() - BURST_MS;
  }

  /** Waits until `bytes` more may pass; callers pass in the order of their coming. Rejects with the signal's reason. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#bytesPerMs === Number.POSITIVE_INFINITY) return;
    const nowMs = this.#clock.nowMs();
    this.#paidUntilMs = Math.max(this.#paidUntilMs, nowMs - BURST_MS) + bytes / this.#bytesPerMs;
    const waitMs = this.#paidUntilMs - nowMs;
    if (waitMs > 0) await this.#clock.sleep(waitMs, signal);
    if (!signal?.aborted) return;
    this.#paidUntilMs -= bytes / this.#bytesPerMs; // they do not pass, and nobody has to pay for them
    throw signal.reason;
  }
}
