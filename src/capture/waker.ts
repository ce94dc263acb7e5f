import { type FSWatcher, watch } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Sleepers } from './sleepers.ts';

/** A file whose events end a wait. */
export interface Hint {
  readonly path: string;
  /** Asked once the watch stands: what happened before it is no event any more. */
  changed?(): boolean;
}

const sleepers = new Sleepers();

/**
 * Waits for something to look at: a call of {@link wake}, a file-system event, or the time. Events are only a hint: they
 * get lost on some mounts, and the time comes anyway.
 */
export class Waker {
  readonly #told: () => void;
  #resolve: (() => void) | undefined;
  #woken = false;

  /** `told`: an event came. */
  constructor(told: () => void) {
    this.#told = told;
  }

  wake(): void {
    this.#woken = true;
    this.#resolve?.();
  }

  /** Waits up to `ms`. */
  wait(ms: number, ...hints: readonly Hint[]): Promise<void> {
    return this.#wait((resolve) => {
      const timer = setTimeout(resolve, ms);
      return () => clearTimeout(timer);
    }, hints);
  }

  /** Waits until something happens; now and then it ends all the same. */
  sleep(...hints: readonly Hint[]): Promise<void> {
    return this.#wait((resolve) => sleepers.add(resolve), hints);
  }

  /** `until` gets what ends the wait, and returns what takes that back. */
  async #wait(until: (resolve: () => void) => () => void, hints: readonly Hint[]): Promise<void> {
    const undo: (() => void)[] = [];
    try {
      for (const hint of hints) if (!this.#woken) undo.push(this.#heed(hint));
      if (this.#woken) {
        await nextTurn(); // never a loop that keeps other work from its turn
        return;
      }
      await new Promise<void>((resolve) => {
        this.#resolve = resolve;
        undo.push(until(resolve));
      });
    } finally {
      for (const next of undo) next();
      this.#resolve = undefined;
      this.#woken = false;
    }
  }

  #heed({ path, changed }: Hint): () => void {
    const watcher = this.#watch(path);
    if (changed?.()) this.wake();
    return () => watcher?.close();
  }

  #watch(path: string): FSWatcher | undefined {
    try {
      const watcher = watch(path, () => {
        this.#told();
        this.wake();
      });
      watcher.on('error', () => this.wake());
      return watcher;
    } catch {
      return undefined; // no events here (no file, no watches left): the time alone has to do
    }
  }
}
