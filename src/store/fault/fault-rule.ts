import type { StoreErrorKind } from '../store.ts';

/** What can be asked of a store. `read` is one read of a reader that `open` gave. */
export type Verb = 'put' | 'open' | 'read' | 'list' | 'delete';

export const VERBS: readonly Verb[] = ['put', 'open', 'read', 'list', 'delete'];

/**
 * One way in which a store misbehaves.
 *
 * | kind           | put                          | open, read                               | list                       | delete                    |
 * | -------------- | ---------------------------- | ---------------------------------------- | -------------------------- | ------------------------- |
 * | `error-before` | fails, nothing done          | fails                                    | fails at the first key     | fails, nothing done       |
 * | `error-after`  | stored, and fails all the same (a lost answer) | done, then fails       | gives every key, then fails| deleted, and fails        |
 * | `slow`         | waits `delayMs` first        | the same                                 | the same                   | the same                  |
 * | `cut`          | fails, nothing stored        | the reader fails after `afterBytes`      | fails after `afterObjects` | stops after `afterObjects`|
 * | `full`         | fails with kind `full`       | the same                                 | the same                   | the same                  |
 * | `hang`         | never answers: ends when the signal aborts or the store (for a read: the reader) is closed | | |
 *
 * A delete does not throw; the keys that a rule hits have the error in their result.
 */
export interface FaultRule {
  readonly verb: Verb;
  readonly kind: 'error-before' | 'error-after' | 'slow' | 'cut' | 'full' | 'hang';
  /** Only keys (for a list: prefixes) that match; default: all. */
  readonly key?: RegExp | undefined;
  /** For `cut` of a reader: how many bytes it still gives; default 0. */
  readonly afterBytes?: number | undefined;
  /** For `cut` of a list or delete: how many keys it still gives or deletes; default 0. */
  readonly afterObjects?: number | undefined;
  /** For `slow`; default 100. */
  readonly delayMs?: number | undefined;
  /** How often the rule strikes before it is spent; default: without end. */
  readonly times?: number | undefined;
  /** How likely it strikes when it could, 0 to 1; default 1. */
  readonly probability?: number | undefined;
  /** Kind of the error; default `transient` (for rules of kind `full`: `full`). */
  readonly errorKind?: StoreErrorKind | undefined;
  /** What the error says is not permitted. */
  readonly permission?: string | undefined;
}

/**
 * A rule and how often it was drawn and struck. The n-th draw of the i-th rule depends on the seed, i and n alone, so calls
 * that the rule does not match, and their order, change nothing about it.
 */
export class ActiveRule {
  readonly rule: FaultRule;
  readonly #seed: number;
  #draws = 0;
  #struck = 0;

  constructor(rule: FaultRule, seed: number) {
    this.rule = rule;
    this.#seed = seed;
  }

  /** Whether the rule is about this key. */
  hits(key: string): boolean {
    // search, because test() of a global or sticky expression would start where its last match ended.
    return this.rule.key === undefined || key.search(this.rule.key) >= 0;
  }

  /** Decides by chance whether it strikes this time; it is not spent by that. */
  draw(): boolean {
    return this.#left() && fraction(this.#seed, this.#draws++) < (this.rule.probability ?? 1);
  }

  /** Strikes, unless it is spent by now. */
  strike(): boolean {
    if (!this.#left()) return false;
    this.#struck++;
    return true;
  }

  #left(): boolean {
    return this.#struck < (this.rule.times ?? Number.POSITIVE_INFINITY);
  }
}

/** A number from 0 up to 1 that two integers determine (the finalizer of MurmurHash3). */
export function fraction(seed: number, index: number): number {
  let mixed = Math.imul(seed ^ Math.imul(index + 1, 0x9e37_79b1), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
}
