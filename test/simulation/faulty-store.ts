import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type DeleteResult,
  type ListOptions,
  type ObjectInfo,
  type ObjectReader,
  type OpenOptions,
  type PutBody,
  type PutOptions,
  type RequestOptions,
  type Store,
  StoreError,
} from '../../src/store/store.ts';
import { between, type Random } from '../support/writers.ts';

interface Stored {
  readonly bytes: Buffer;
  readonly modifiedMs: number;
}

/** How a store behaves for a while. */
export type Weather = 'fine' | 'slow' | 'flaky' | 'away' | 'stale';

/** A store that keeps what it says it keeps, and otherwise fails in every way that stores fail in. */
export class FaultyStore implements Store {
  readonly url = 'file:///simulated';
  readonly objects = new Map<string, Stored>();
  weather: Weather = 'fine';
  readonly #random: Random;
  /** Requests that are on their way: the server may carry them out although the client is dead. */
  readonly #onTheirWay = new Set<() => void>();
  /** Requests of a dead client that arrive when the next one is at work. */
  readonly #late: (() => void)[] = [];
  /** An object was stored that was not there before. */
  onStored: (key: string, bytes: Buffer) => void = () => undefined;

  constructor(random: Random) {
    this.#random = random;
  }

  /** The client died: some of its last requests arrive all the same, now or much later. */
  clientDied(): void {
    for (const apply of this.#onTheirWay) {
      const dice = this.#random();
      if (dice < 0.3) applyUnheard(apply);
      else if (dice < 0.6) this.#late.push(apply);
    }
    this.#onTheirWay.clear();
  }

  /** What dead clients sent arrives at last; true when there was something. */
  late(): boolean {
    const requests = this.#late.splice(0);
    for (const apply of requests) applyUnheard(apply);
    return requests.length > 0;
  }

  async conditionalWrites(): Promise<boolean> {
    return true;
  }

  async *list(prefix: string, { startAfter = '', signal }: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    await this.#request(() => undefined, signal);
    const stored = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > startAfter);
    // What was stored last is not in the listing yet.
    const hidden = this.weather === 'stale' ? between(this.#random, 0, 2) : 0;
    for (const key of stored.slice(0, stored.length - hidden).sort()) {
      const object = this.objects.get(key);
      if (object) yield { key, sizeBytes: object.bytes.length, modifiedMs: object.modifiedMs };
    }
  }

  async open(key: string, { offset = 0, length, signal }: OpenOptions = {}): Promise<ObjectReader> {
    await this.#request(() => undefined, signal);
    const object = this.objects.get(key);
    if (!object) throw new StoreError('not-found', { message: `${key} is not there` });
    let rest = object.bytes.subarray(offset, length === undefined ? undefined : offset + length);
    const breaksAfter =
      this.weather === 'flaky' && this.#random() < 0.3 ? between(this.#random, 0, rest.length) : undefined;
    let given = 0;
    return {
      version: String(object.modifiedMs),
      read: async (target) => {
        if (breaksAfter !== undefined && given >= breaksAfter) throw transient('the connection was cut');
        const piece = rest.subarray(0, Math.min(target.length, between(this.#random, 1, 2000)));
        target.set(piece);
        rest = rest.subarray(piece.length);
        given += piece.length;
        return piece.length;
      },
      close: async () => undefined,
    };
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> {
    const bytes = 'file' in body ? readFileSync(body.file) : Buffer.from(body.bytes);
    if ('file' in body && bytes.length !== body.sizeBytes) {
      throw new StoreError('permanent', { message: `${body.file} is not as long as was said` });
    }
    const modifiedMs = options.timestampMs ?? Date.now();
    await this.#request(() => {
      if (options.ifAbsent && this.objects.has(key)) {
        throw new StoreError('exists', { message: `${key} is there already` });
      }
      this.objects.set(key, { bytes, modifiedMs });
      this.onStored(key, bytes);
    }, options.signal);
    return { key, sizeBytes: bytes.length, modifiedMs };
  }

  async delete(keys: readonly string[], { signal }: RequestOptions = {}): Promise<DeleteResult[]> {
    await this.#request(() => {
      for (const key of keys) this.objects.delete(key);
    }, signal);
    return keys.map((key) => ({ key, error: undefined }));
  }

  async close(): Promise<void> {}

  /** One request: it may be refused, be lost on the way, or be done and its answer be lost. */
  async #request(apply: () => void, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const random = this.#random;
    if (this.weather === 'away') throw transient('the store is away');
    if (this.weather === 'flaky' && random() < 0.3) throw transient('the request was lost');
    this.#onTheirWay.add(apply);
    const isSlow = this.weather === 'slow' || (this.weather === 'flaky' && random() < 0.3);
    const tookMs = isSlow ? between(random, 1, 3000) : random() < 0.5 ? between(random, 0, 30) : 0;
    try {
      if (tookMs > 0) await delay(tookMs, undefined, { signal });
    } catch (error) {
      // Whoever asked does not wait for the answer.
      if (this.#onTheirWay.delete(apply) && random() < 0.5) applyUnheard(apply);
      throw error;
    }
    if (!this.#onTheirWay.delete(apply)) return; // it was done when the client died
    apply();
    if (this.weather === 'flaky' && random() < 0.3) throw transient('the answer was lost');
  }
}

function applyUnheard(apply: () => void): void {
  try {
    apply();
  } catch (error) {
    // Refused, and nobody is there to hear it.
    if (!(error instanceof StoreError)) throw error;
  }
}

function transient(message: string): StoreError {
  return new StoreError('transient', { message });
}
