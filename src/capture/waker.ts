import { type FSWatcher, watch } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hasCode, messageOf } from '../base/errors.ts';
import { Sleepers } from './sleepers.ts';

/** A file whose events end a wait. */
export interface Hint {
  readonly path: string;
  /** Asked once the watch stands: what happened before it is no event any more. */
  changed?(): boolean;
}

/** How the system says that it gives no more watches, or descriptors, to this user or process. */
const NO_WATCHES_LEFT = ['ENOSPC', 'EMFILE', 'ENFILE'] as const;

/** A timer cannot be set for longer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const sleepers = new Sleepers();

/**
 * Waits for something to look at: a call of {@link wake}, a file-system event, or the time. Events are only a hint: they
 * get lost on some mounts, and the time comes anyway.
 */
export class Waker {
  readonly #told: () => void;
  readonly #noWatches: (why: string) => void;
  #resolve: (() => void) | undefined;
  #woken = false;

  /** `told`: an event came. `noWatches`: the system has none left to give. */
  constructor(told: () => void, noWatches: (why: string) => void = () => undefined) {
    this.#told = told;
    this.#noWatches = noWatches;
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

  /**
   * Waits until something happens, up to `mostMs`; now and then it ends all the same. Where not all of it can be watched: after
   * `unwatchedMs`.
   */
  sleep(unwatchedMs: number, mostMs: number, ...hints: readonly Hint[]): Promise<void> {
    return this.#wait((resolve, isWatched) => {
      const undo = isWatched ? [sleepers.add(resolve)] : [];
      const ms = isWatched ? mostMs : Math.min(unwatchedMs, mostMs);
      if (ms !== Number.POSITIVE_INFINITY) {
        const timer = setTimeout(resolve, Math.min(ms, LONGEST_TIMER_MS));
        undo.push(() => clearTimeout(timer));
      }
      return () => {
        for (const next of undo) next();
      };
    }, hints);
  }

  /** `until` gets what ends the wait, and whether all hints are watched for, and returns what takes that back. */
  async #wait(until: (resolve: () => void, isWatched: boolean) => () => void, hints: readonly Hint[]): Promise<void> {
    const undo: (() => void)[] = [];
    let isWatched = true;
    try {
      for (const { path, changed } of hints) {
        if (this.#woken) break;
        const watcher = this.#watch(path);
        if (watcher) undo.push(() => watcher.close());
        else isWatched = false;
        if (changed?.()) this.wake();
      }
      if (this.#woken) {
        await nextTurn(); // never a loop that keeps other work from its turn
        return;
      }
      await new Promise<void>((resolve) => {
        this.#resolve = resolve;
        undo.push(until(resolve, isWatched));
      });
    } finally {
      for (const next of undo) next();
      this.#resolve = undefined;
      this.#woken = false;
    }
  }

  #watch(path: string): FSWatcher | undefined {
    try {
      const watcher = watch(path, () => {
        this.#told();
        this.wake();
      });
      watcher.on('error', () => this.wake());
      return watcher;
    } catch (error) {
      if (hasCode(error, ...NO_WATCHES_LEFT)) this.#noWatches(messageOf(error));
      return undefined; // no events here (no file, no watches left): the time alone has to do
    }
  }
}
