import { type FSWatcher, watch } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** A file whose events end a wait. */
export interface Hint {
  readonly path: string;
  /** Not before this, however early the event comes. */
  readonly afterMs: number;
  /** Asked once the watch stands: what happened before it is no event any more. */
  changed?(): boolean;
}

/**
 * Waits for something to look at: a call of {@link wake}, a file-system event, or the time. Events are only a hint: they
 * get lost on some mounts, and the time comes anyway.
 */
export class Waker {
  #resolve: (() => void) | undefined;
  #woken = false;
  #isTold = false;

  /** Events come here: there was one. */
  get isTold(): boolean {
    return this.#isTold;
  }

  wake(): void {
    this.#woken = true;
    this.#resolve?.();
  }

  /** Waits up to `ms`. */
  async wait(ms: number, hint?: Hint): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    let hinted: NodeJS.Timeout | undefined;
    const sinceMs = performance.now();
    const happened = (): void => {
      hinted ??= setTimeout(() => this.wake(), Math.max(0, (hint?.afterMs ?? 0) - (performance.now() - sinceMs)));
    };
    const watcher = hint && !this.#woken ? this.#watch(hint.path, happened) : undefined;
    try {
      if (hint?.changed?.()) happened();
      if (this.#woken) {
        await nextTurn(); // never a loop that keeps other work from its turn
        return;
      }
      await new Promise<void>((resolve) => {
        this.#resolve = resolve;
        timer = setTimeout(resolve, ms);
      });
    } finally {
      clearTimeout(timer);
      clearTimeout(hinted);
      watcher?.close();
      this.#resolve = undefined;
      this.#woken = false;
    }
  }

  #watch(path: string, happened: () => void): FSWatcher | undefined {
    try {
      const watcher = watch(path, () => {
        this.#isTold = true;
        happened();
      });
      watcher.on('error', happened);
      return watcher;
    } catch {
      return undefined; // no events here (no file, no watches left): the time alone has to do
    }
  }
}
