import { type FSWatcher, watch } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * Waits for something to look at: a call of {@link wake}, a file-system event for the WAL, or the time. Events are only a
 * hint: they get lost on some mounts, and the time comes anyway.
 */
export class Waker {
  readonly #walPath: string;
  #resolve: (() => void) | undefined;
  #woken = false;

  constructor(walPath: string) {
    this.#walPath = walPath;
  }

  wake(): void {
    this.#woken = true;
    this.#resolve?.();
  }

  /**
   * Waits up to `ms`. With `changed`, an event for the WAL ends the wait as well, and `changed` is asked once more after
   * the watch stands; without it the events of a busy WAL cost nothing.
   */
  async wait(ms: number, changed?: () => boolean): Promise<void> {
    const watcher = changed && !this.#woken ? this.#watch() : undefined;
    let timer: NodeJS.Timeout | undefined;
    try {
      if (this.#woken || (watcher && changed?.())) {
        await nextTurn(); // never a loop that keeps other work from its turn
        return;
      }
      await new Promise<void>((resolve) => {
        this.#resolve = resolve;
        timer = setTimeout(resolve, ms);
      });
    } finally {
      clearTimeout(timer);
      watcher?.close();
      this.#resolve = undefined;
      this.#woken = false;
    }
  }

  #watch(): FSWatcher | undefined {
    try {
      const watcher = watch(this.#walPath, () => this.wake());
      watcher.on('error', () => this.wake());
      return watcher;
    } catch {
      return undefined; // no events here (no file, no watches left): the time alone has to do
    }
  }
}
