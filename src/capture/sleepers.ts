/** How long each sleeps at most, about. */
const ROUND_MS = 60_000;
/** Least time between two wakings, and how large a part is woken at once: the rest has to wait for the next one. */
const STEP_MS = 1000;
const PART = 1 / 30;

/** Any number of sleepers with one timer: each is woken once in a round, if nothing else wakes it. */
export class Sleepers {
  /** Since when; who sleeps longest comes first. */
  readonly #sleeping = new Map<() => void, number>();
  #timer: NodeJS.Timeout | undefined;

  /** Returns what takes it back. */
  add(wake: () => void): () => void {
    this.#sleeping.set(wake, performance.now());
    this.#timer ??= setTimeout(() => this.#wakeSome(), ROUND_MS);
    return () => {
      this.#sleeping.delete(wake);
      if (this.#sleeping.size > 0) return;
      clearTimeout(this.#timer);
      this.#timer = undefined;
    };
  }

  #wakeSome(): void {
    const before = performance.now() - ROUND_MS;
    let room = Math.ceil(this.#sleeping.size * PART);
    let nextMs = ROUND_MS;
    for (const [wake, sinceMs] of this.#sleeping) {
      if (sinceMs > before || room-- === 0) {
        nextMs = sinceMs - before;
        break;
      }
      wake();
    }
    this.#timer = setTimeout(() => this.#wakeSome(), Math.max(STEP_MS, nextMs));
  }
}
