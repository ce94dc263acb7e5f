import { createRequire, syncBuiltinESMExports } from 'node:module';

const require = createRequire(import.meta.url);
const realImmediate = setImmediate;
/** Turns of the event loop after which nobody is still at work. */
const MOST_TURNS = 60;

interface Timer {
  readonly dueMs: number;
  readonly order: number;
  readonly fire: () => void;
}

/**
 * Time that passes only when {@link VirtualTime.advance} says so, for everything in this process: timers, both clocks, and the
 * time-outs of signals. What does not wait for time goes on in real turns of the event loop: see {@link VirtualTime.settle}.
 */
export class VirtualTime {
  #nowMs = 1000;
  #order = 0;
  readonly #timers = new Set<Timer>();
  /** Called between any two turns of the event loop. */
  onTurn: () => void = () => undefined;

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Takes over the clocks and timers of this process, for good. */
  install(): void {
    const startedMs = Date.parse('2026-01-01T00:00:00Z');
    performance.now = () => this.#nowMs;
    Date.now = () => startedMs + this.#nowMs;
    const after = (fire: () => void, ms = 0): Timer & { unref(): unknown; ref(): unknown } =>
      Object.assign(this.#add(fire, ms), { unref: () => undefined, ref: () => undefined });
    const globals = globalThis as unknown as Record<string, unknown>; // the types of Node's timers are many
    globals.setTimeout = (fire: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) =>
      after(() => fire(...args), ms);
    globals.setInterval = (fire: () => void, ms?: number) => {
      const again = (): void => {
        interval.next = this.#add(again, ms);
        fire();
      };
      const interval = { next: this.#add(again, ms) };
      return interval;
    };
    globals.clearInterval = (interval?: { next: Timer }) => void (interval && this.#timers.delete(interval.next));
    globals.clearTimeout = (timer?: Timer) => void (timer && this.#timers.delete(timer));
    AbortSignal.timeout = (ms) => {
      const controller = new AbortController();
      this.#add(() => controller.abort(new DOMException('timed out', 'TimeoutError')), ms);
      return controller.signal;
    };
    const promises = require('node:timers/promises') as Record<string, unknown>; // a module that can be written to
    promises.setTimeout = (ms: number, value?: unknown, options?: { signal?: AbortSignal }) =>
      new Promise((resolve, reject) => {
        const { signal } = options ?? {};
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const timer = this.#add(() => {
          signal?.removeEventListener('abort', onAbort);
          resolve(value);
        }, ms);
        const onAbort = (): void => {
          this.#timers.delete(timer);
          reject(signal?.reason);
        };
        signal?.addEventListener('abort', onAbort, { once: true });
      });
    syncBuiltinESMExports();
  }

  #add(fire: () => void, ms = 0): Timer {
    const timer = {
      dueMs: this.#nowMs + Math.max(Number.isFinite(ms) ? Math.ceil(ms) : 2 ** 40, 0),
      order: this.#order++,
      fire,
    };
    this.#timers.add(timer);
    return timer;
  }

  /** A world begins: what happens in it depends on no other. */
  restart(): void {
    this.#timers.clear();
    this.#nowMs = 1000;
    this.#order = 0;
  }

  /** A process died: nothing that it waited for will come. */
  dropTimers(): void {
    this.#timers.clear();
  }

  /** Lets everything run that waits for no time. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 4; turn++) {
      await new Promise<void>((resolve) => realImmediate(resolve));
      this.onTurn();
    }
  }

  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await this.settle();
    for (let next = await this.#nextOrLate(untilMs); next; next = await this.#nextOrLate(untilMs)) {
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.fire();
      await this.settle();
    }
    this.#nowMs = untilMs;
  }

  /** What takes many turns, but no time, comes to its end first, if nobody waits for anything else. */
  async #nextOrLate(untilMs: number): Promise<Timer | undefined> {
    for (let turn = 0; turn < MOST_TURNS; turn++) {
      const next = this.#next(untilMs);
      if (next) return next;
      await new Promise<void>((resolve) => realImmediate(resolve));
    }
    return undefined;
  }

  #next(untilMs: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs > untilMs) continue;
      if (!first || timer.dueMs < first.dueMs || (timer.dueMs === first.dueMs && timer.order < first.order))
        first = timer;
    }
    return first;
  }
}
