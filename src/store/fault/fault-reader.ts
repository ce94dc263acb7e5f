import type { ObjectReader } from '../store.ts';
import type { FaultRule } from './fault-rule.ts';
import { type FaultScript, faultError, type Release } from './fault-script.ts';

/** A `cut` that waits for the reader to get as far. */
interface Cut {
  readonly rule: FaultRule;
  /** False when the rule was spent or switched off meanwhile. */
  readonly strike: () => boolean;
}

/** A reader with the faults that a script deals to `read`, and the `cut` that was dealt to its `open`. */
export class FaultReader implements ObjectReader {
  readonly version: string | undefined;
  readonly #inner: ObjectReader;
  readonly #key: string;
  readonly #script: FaultScript;
  readonly #release: Release;
  readonly #closed = new AbortController();
  readonly #cuts: readonly Cut[];
  #givenBytes = 0;

  constructor(inner: ObjectReader, key: string, script: FaultScript, release: Release, cutOfOpen?: FaultRule) {
    this.version = inner.version;
    this.#inner = inner;
    this.#key = key;
    this.#script = script;
    this.#release = { signal: release.signal, closed: AbortSignal.any([release.closed, this.#closed.signal]) };
    const ofRead = script.draw('read', [key], (rule) => rule.kind === 'cut');
    const cuts = ofRead.map((active) => ({ rule: active.rule, strike: () => script.strike(active) }));
    this.#cuts = cutOfOpen ? [{ rule: cutOfOpen, strike: () => true }, ...cuts] : cuts;
  }

  async read(target: Uint8Array): Promise<number> {
    this.#script.countCall('read');
    const drawn = this.#script.draw('read', [this.#key], (rule) => rule.kind !== 'cut');
    const rule = await this.#script.before(drawn, this.#key, this.#release);
    const got = await this.#inner.read(target.subarray(0, this.#allowedBytes(target.length)));
    this.#givenBytes += got;
    if (rule) throw faultError(rule, this.#key);
    return got;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#inner.close();
  }

  /** How much of a read goes through before a cut; throws at the cut. */
  #allowedBytes(wantedBytes: number): number {
    let allowedBytes = wantedBytes;
    for (const { rule, strike } of this.#cuts) {
      const leftBytes = (rule.afterBytes ?? 0) - this.#givenBytes;
      if (leftBytes > 0) allowedBytes = Math.min(allowedBytes, leftBytes);
      else if (strike()) throw faultError(rule, this.#key);
    }
    return allowedBytes;
  }
}
