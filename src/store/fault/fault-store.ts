import type {
  DeleteResult,
  ListOptions,
  ObjectInfo,
  ObjectReader,
  OpenOptions,
  PutBody,
  PutOptions,
  RequestOptions,
  Store,
} from '../store.ts';
import { FaultReader } from './fault-reader.ts';
import type { FaultRule, Verb } from './fault-rule.ts';
import { type FaultCounts, FaultScript, faultError, type Release } from './fault-script.ts';

export interface FaultStoreOptions {
  readonly rules?: readonly FaultRule[] | undefined;
  /** Decides the draws of rules with a probability; default 1. */
  readonly seed?: number | undefined;
  /** Whether rules strike from the start; default true. */
  readonly enabled?: boolean | undefined;
}

/**
 * Any store, with the faults that a script deals it: for tests and simulations of everything above the store. The first
 * matching rule strikes, after all matching `slow` ones before it.
 */
export class FaultStore implements Store {
  readonly url: string;
  readonly #inner: Store;
  readonly #script: FaultScript;
  readonly #closed = new AbortController();

  constructor(inner: Store, options: FaultStoreOptions = {}) {
    this.url = inner.url;
    this.#inner = inner;
    this.#script = new FaultScript(options.rules ?? [], options.seed ?? 1);
    this.#script.enabled = options.enabled ?? true;
  }

  /** Whether rules strike. Calls are counted in any case; a call that hangs already goes on hanging. */
  get enabled(): boolean {
    return this.#script.enabled;
  }

  set enabled(on: boolean) {
    this.#script.enabled = on;
  }

  /** Calls and faults so far. */
  get counts(): Readonly<Record<Verb, FaultCounts>> {
    return this.#script.counts();
  }

  /** Replaces the rules; the counts stay. */
  setRules(rules: readonly FaultRule[]): void {
    this.#script.replace(rules);
  }

  conditionalWrites(options?: RequestOptions): Promise<boolean> {
    return this.#inner.conditionalWrites(options);
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    const rule = await this.#before('list', prefix, options);
    let left = rule?.kind === 'cut' ? (rule.afterObjects ?? 0) : Number.POSITIVE_INFINITY;
    for await (const info of this.#inner.list(prefix, options)) {
      if (left-- <= 0) break;
      yield info;
    }
    if (rule) throw faultError(rule, prefix);
  }

  async open(key: string, options: OpenOptions = {}): Promise<ObjectReader> {
    const rule = await this.#before('open', key, options);
    const reader = await this.#inner.open(key, options);
    if (rule?.kind === 'error-after') {
      await reader.close();
      throw faultError(rule, key);
    }
    return new FaultReader(reader, key, this.#script, this.#release(options), rule);
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> {
    const rule = await this.#before('put', key, options);
    if (rule?.kind === 'cut') throw faultError(rule, key);
    const info = await this.#inner.put(key, body, options);
    if (rule) throw faultError(rule, key);
    return info;
  }

  async delete(keys: readonly string[], options: RequestOptions = {}): Promise<DeleteResult[]> {
    this.#script.countCall('delete');
    const active = await this.#script.suffer(this.#script.draw('delete', keys), this.#release(options));
    if (!active) return this.#inner.delete(keys, options);
    const { rule } = active;
    let left = rule.kind === 'cut' ? (rule.afterObjects ?? 0) : 0;
    const hit = new Set(keys.filter((key) => active.hits(key) && left-- <= 0));
    const asked = rule.kind === 'error-after' ? keys : keys.filter((key) => !hit.has(key));
    const done = new Map((await this.#inner.delete(asked, options)).map((result) => [result.key, result.error]));
    return keys.map((key) => ({ key, error: hit.has(key) ? faultError(rule, key) : done.get(key) }));
  }

  /** Closes the store behind too; calls that hang fail. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#inner.close();
  }

  #release(options: RequestOptions): Release {
    return { signal: options.signal, closed: this.#closed.signal };
  }

  #before(verb: Verb, key: string, options: RequestOptions): Promise<FaultRule | undefined> {
    this.#script.countCall(verb);
    return this.#script.before(this.#script.draw(verb, [key]), key, this.#release(options));
  }
}
